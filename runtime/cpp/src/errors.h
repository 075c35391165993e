// What the library throws inside; api.cpp turns each into a status and a message.
#pragma once

#include <stdexcept>
#include <string>

#include "fastbert.h"

namespace fastbert {

class Error : public std::runtime_error {
 public:
  Error(fastbert_status status, const std::string& message)
      : std::runtime_error(message), status_(status) {}
  fastbert_status status() const noexcept { return status_; }

 private:
  fastbert_status status_;
};

struct UsageError : Error {
  explicit UsageError(const std::string& message) : Error(FASTBERT_USAGE_ERROR, message) {}
};

struct BundleError : Error {
  explicit BundleError(const std::string& message) : Error(FASTBERT_BUNDLE_ERROR, message) {}
};

struct EngineError : Error {
  explicit EngineError(const std::string& message) : Error(FASTBERT_ENGINE_ERROR, message) {}
};

struct Unsupported : Error {
  explicit Unsupported(const std::string& message) : Error(FASTBERT_UNSUPPORTED, message) {}
};

}  // namespace fastbert
