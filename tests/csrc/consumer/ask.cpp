// The program of g4v.hpp's first comment.
#include <g4v/g4v.hpp>
#include <iostream>

int main(int argc, char** argv) try {
  if (argc != 3) return 2;
  g4v::Assistant assistant(argv[1]);
  g4v::Chat chat = assistant.Chat();
  for (const g4v_event& event : chat.Send(argv[2])) {
    if (event.kind == G4V_TEXT) std::cout << event.text << std::flush;
  }
} catch (const g4v::Error& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
