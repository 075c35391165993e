// Names, types and dimensions of the engines' inputs and outputs (docs/bundle-format.md#engines).
#pragma once

#include <vector>

#include "onnxruntime/engine.h"

namespace fastbert {

constexpr const char* kHiddenStates = "hidden_states";
constexpr const char* kMask = "extended_attention_mask";
constexpr const char* kNextHiddenStates = "next_hidden_states";
constexpr const char* kLogits = "logits";
constexpr const char* kUncertainty = "uncertainty";
constexpr const char* kExitLayer = "exit_layer";
constexpr const char* kChainPrefix = "chain/";

constexpr const char* kTokenNames[] = {"input_ids", "attention_mask", "token_type_ids"};
constexpr const char* kEmbeddingsOutputNames[] = {kHiddenStates, kMask};
constexpr const char* kStageOutputNames[] = {kNextHiddenStates, kLogits, kUncertainty};
constexpr const char* kChainOutputNames[] = {"chain/next_hidden_states", "chain/logits",
                                             "chain/uncertainty"};
constexpr const char* kRowInputNames[] = {"input_ids", "token_type_ids", "speed"};
constexpr const char* kRowOutputNames[] = {kLogits, kExitLayer, kUncertainty};

inline std::vector<TensorRule> token_rules() {
  return {{"input_ids", kOrtInt64, 2},
          {"attention_mask", kOrtInt64, 2},
          {"token_type_ids", kOrtInt64, 2}};
}
inline std::vector<TensorRule> embeddings_output_rules() {
  return {{kHiddenStates, kOrtFloat, 3}, {kMask, kOrtFloat, 4}};
}
inline std::vector<TensorRule> row_rules() {
  return {{"input_ids", kOrtInt64, 2}, {"token_type_ids", kOrtInt64, 2}, {"speed", kOrtFloat, 1}};
}
inline std::vector<TensorRule> row_output_rules() {
  return {{kLogits, kOrtFloat, 2}, {kExitLayer, kOrtInt64, 1}, {kUncertainty, kOrtFloat, 1}};
}

}  // namespace fastbert
