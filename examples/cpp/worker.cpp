// worker: reads a text per line and prints its answer as a JSON object on one line.
//
//     ./worker bundle [speed] < texts.txt
#include <cstdlib>
#include <exception>
#include <fastbert.hpp>
#include <iostream>
#include <string>

#include "json.h"

static std::string json(const fastbert::Prediction& prediction) {
  return "{\"label\": " + json_string(prediction.label) +
         ", \"probability\": " + json_number(prediction.probability()) +
         ", \"exit_layer\": " + std::to_string(prediction.exit_layer) +
         ", \"layers_run\": " + std::to_string(prediction.layers_run()) +
         ", \"uncertainty\": " + json_number(prediction.uncertainty) +
         ", \"truncated\": " + (prediction.truncated ? "true" : "false") + "}";
}

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "Usage: " << argv[0] << " BUNDLE [SPEED] < TEXTS\n";
    return 2;
  }
  try {
    const fastbert::Model model(argv[1]);
    fastbert::Session session(model);
    const double speed = argc > 2 ? std::atof(argv[2]) : fastbert::kDefaultSpeed;
    for (std::string line; std::getline(std::cin, line);) {
      try {
        std::cout << json(session.classify_text(line, speed)) << std::endl;
      } catch (const fastbert::UsageError& error) {  // of this line: the others can be answered
        std::cout << "{\"error\": " << json_string(error.what()) << "}" << std::endl;
      }
    }
    return std::cout ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << "Error: " << error.what() << "\n";
    return 1;
  }
}
