#include "chat/prompt_words.h"

#include <array>
#include <cstdint>
#include <string_view>

namespace g4v {
namespace {

constexpr std::array<std::string_view, 20> kSmall = {
    "zero",     "one",     "two",     "three",     "four",     "five",    "six",
    "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",  "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"};
constexpr std::array<std::string_view, 10> kTens = {
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"};

std::string TwoDigits(int64_t number) {
  const std::string digits = std::to_string(number);
  return digits.size() < 2 ? "0" + digits : digits;
}

}  // namespace

std::string NumberInWords(int number) {
  const auto at = [](const auto& words, int index) {
    return std::string(words[static_cast<size_t>(index)]);
  };
  if (number < 20) return at(kSmall, number);
  if (number < 100) {
    return at(kTens, number / 10) + (number % 10 ? "-" + at(kSmall, number % 10) : "");
  }
  if (number < 1000) {
    const std::string rest = number % 100 ? " and " + NumberInWords(number % 100) : "";
    return at(kSmall, number / 100) + " hundred" + rest;
  }
  const int rest = number % 1000;
  const std::string joint = rest == 0 ? "" : rest < 100 ? " and " : ", ";
  return NumberInWords(number / 1000) + " thousand" + joint + (rest ? NumberInWords(rest) : "");
}

std::string Timestamp(double seconds) {
  const auto whole = static_cast<int64_t>(seconds);
  return TwoDigits(whole / 60) + ":" + TwoDigits(whole % 60);
}

std::string Duration(double seconds) {
  const auto whole = static_cast<int64_t>(seconds);
  const int64_t days = whole / 86400;
  const std::string before =
      days == 0 ? "" : std::to_string(days) + (days == 1 ? " day, " : " days, ");
  return before + std::to_string(whole / 3600 % 24) + ":" + TwoDigits(whole / 60 % 60) + ":" +
         TwoDigits(whole % 60);
}

}  // namespace g4v
