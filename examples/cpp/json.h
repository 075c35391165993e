// JSON values as text, for what the worker prints.
#pragma once

#include <string>
#include <string_view>

// Returns UTF-8 as a JSON string, with its quotation marks.
std::string json_string(std::string_view text);

// Returns the shortest number that reads back as the same float; null for what JSON has no number
// for.
std::string json_number(float value);
