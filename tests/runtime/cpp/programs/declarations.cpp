// Compares the declarations of onnxruntime_api.h with the official header; the test appends a CHECK
// for each function.
#include <type_traits>

#include "onnxruntime/onnxruntime_api.h"
#include "onnxruntime_c_api.h"

using namespace fastbert;

// A type with every enumeration as int, whose size it has in C.
template <typename Type>
struct Plain {
  using type = std::conditional_t<std::is_enum_v<Type>, int, Type>;
};
static_assert(sizeof(OrtLoggingLevel) == sizeof(int));
template <typename Type>
struct Plain<Type*> {
  using type = typename Plain<Type>::type*;
};
template <typename Result, typename... Arguments>
struct Plain<Result (*)(Arguments...)> {
  using type = typename Plain<Result>::type (*)(typename Plain<Arguments>::type...);
};
template <typename Result, typename... Arguments>
struct Plain<Result (*)(Arguments...) noexcept> {
  using type = typename Plain<Result>::type (*)(typename Plain<Arguments>::type...) noexcept;
};
// OrtApiBase::GetApi returns our table, as void.
template <>
struct Plain<const OrtApi*> {
  using type = const void*;
};

static_assert(kOrtLoggingLevelWarning == ORT_LOGGING_LEVEL_WARNING);
static_assert(kOrtArenaAllocator == OrtArenaAllocator);
static_assert(kOrtMemTypeDefault == OrtMemTypeDefault);
static_assert(kOrtFloat == static_cast<int>(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT));
static_assert(kOrtInt64 == static_cast<int>(ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64));
static_assert(kOrtBool == static_cast<int>(ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL));

#define CHECK(Ours, Official, name)                                                             \
  static_assert(offsetof(Ours, name) == offsetof(Official, name), #name " is elsewhere");       \
  static_assert(                                                                                \
      std::is_same_v<Plain<decltype(Ours::name)>::type, Plain<decltype(Official::name)>::type>, \
      #name " has another type")
