// Numbers and times as the texts of a prompt template have them.
#pragma once

#include <string>

namespace g4v {

// 0 to 999999 in British English: "twenty-one", "one hundred and one", "one thousand and twenty-four".
std::string NumberInWords(int number);

// Seconds, rounded down, as MM:SS with at least two digits each: 75.9 is "01:15", 6000 is "100:00".
std::string Timestamp(double seconds);

// Seconds, rounded down, as H:MM:SS, with the days before it where there are any: "0:01:15",
// "1 day, 0:00:00", "2 days, 3:00:00".
std::string Duration(double seconds);

}  // namespace g4v
