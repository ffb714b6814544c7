// A chat without Python: questions about a video, answers as they are made, generated videos as
// PPM frames. See kUsage.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <g4v/g4v.hpp>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

namespace {

constexpr const char* kUsage =
    "usage: chat_host BUNDLE [options] [QUESTION ...]\n"
    "Talks with the assistant of a bundle directory; without a question it reads them from stdin.\n"
    "  --video FILE WIDTH HEIGHT  the first question is about these raw RGB frames, such as\n"
    "                             ffmpeg -i clip.mp4 -f rawvideo -pix_fmt rgb24 FILE makes\n"
    "  --fps N                    frames a second of that video (default: not known), for models "
    "that are\n"
    "                             told when frames are shown\n"
    "  --demo-video               the first question is about a red disc that moves to the left\n"
    "  --out DIR                  an existing folder for video0_00.ppm ... (default: .)\n"
    "  --seed N                   of answers and videos (default: 0)\n"
    "  --onnxruntime FILE         ONNX Runtime's library (default: $G4V_ONNXRUNTIME, the "
    "system's)\n";

struct Options {
  std::string bundle;
  std::string out = ".";
  std::string onnxruntime;
  uint64_t seed = 0;
  double fps = 0;  // of `frames`; 0: not known
  std::vector<uint8_t> pixels;
  g4v_frames frames = {};  // of `pixels`; count 0: no video
  std::vector<std::string> questions;
};

[[noreturn]] void Fail(const std::string& message, int code) {
  std::cerr << message << "\n";
  std::exit(code);
}

void ReadFrames(const std::string& path, int64_t width, int64_t height, Options& options) {
  std::ifstream file(path, std::ios::binary);
  if (!file) Fail(path + " cannot be opened", 1);
  options.pixels.assign(std::istreambuf_iterator<char>(file), {});
  const int64_t frame = width * height * 3;
  if (width < 1 || height < 1) Fail(kUsage, 2);
  const int64_t count = static_cast<int64_t>(options.pixels.size()) / frame;
  if (count < 1) Fail(path + " holds not even one frame of that size", 1);
  options.frames = {options.pixels.data(), count, height, width};
}

void DrawDemo(Options& options) {
  constexpr int64_t kCount = 8;
  constexpr int64_t kSize = 64;
  options.pixels.assign(kCount * kSize * kSize * 3, 0);
  for (int64_t frame = 0; frame < kCount; ++frame) {
    const int64_t centre = 50 - 4 * frame;
    for (int64_t y = 0; y < kSize; ++y) {
      for (int64_t x = 0; x < kSize; ++x) {
        const bool inside = (x - centre) * (x - centre) + (y - 32) * (y - 32) < 100;
        if (inside)
          options.pixels[static_cast<size_t>(((frame * kSize + y) * kSize + x) * 3)] = 230;
      }
    }
  }
  options.frames = {options.pixels.data(), kCount, kSize, kSize};
}

Options ParseArguments(const std::vector<std::string>& arguments) {
  Options options;
  const auto value = [&](size_t& i) -> const std::string& {
    if (++i >= arguments.size()) Fail(kUsage, 2);
    return arguments[i];
  };
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--help") {
      std::cout << kUsage;
      std::exit(0);
    } else if (argument == "--video") {
      const std::string path = value(i);
      const int64_t width = std::strtoll(value(i).c_str(), nullptr, 10);
      ReadFrames(path, width, std::strtoll(value(i).c_str(), nullptr, 10), options);
    } else if (argument == "--fps") {
      char* end = nullptr;
      options.fps = std::strtod(value(i).c_str(), &end);
      if (*end != '\0' || !(options.fps > 0)) Fail("--fps must be a number above 0", 2);
    } else if (argument == "--demo-video") {
      DrawDemo(options);
    } else if (argument == "--out") {
      options.out = value(i);
    } else if (argument == "--seed") {
      options.seed = std::strtoull(value(i).c_str(), nullptr, 10);
    } else if (argument == "--onnxruntime") {
      options.onnxruntime = value(i);
    } else if (argument.rfind("--", 0) == 0) {
      Fail(kUsage, 2);
    } else if (options.bundle.empty()) {
      options.bundle = argument;
    } else {
      options.questions.push_back(argument);
    }
  }
  if (options.bundle.empty()) Fail(kUsage, 2);
  if (options.fps > 0 && options.frames.count == 0) Fail("--fps is of a video: give --video", 2);
  return options;
}

// One binary PPM for each frame; returns the pattern of their names.
std::string WriteFrames(const std::string& folder, int number, const g4v_frames& frames) {
  const std::string stem = folder + "/video" + std::to_string(number) + "_";
  const int64_t bytes = frames.height * frames.width * 3;
  for (int64_t i = 0; i < frames.count; ++i) {
    char name[32];
    std::snprintf(name, sizeof name, "%02lld.ppm", static_cast<long long>(i));
    std::ofstream file(stem + name, std::ios::binary);
    file << "P6\n" << frames.width << " " << frames.height << "\n255\n";
    file.write(reinterpret_cast<const char*>(frames.pixels + i * bytes), bytes);
    if (!file.flush()) Fail(stem + name + " cannot be written", 1);
  }
  return stem + "*.ppm";
}

void Answer(g4v::Stream stream, const std::string& folder, int& videos) {
  for (const g4v_event& event : stream) {
    switch (event.kind) {
      case G4V_TEXT:
        std::cout << event.text << std::flush;
        break;
      case G4V_VIDEO_PROMPT:
        std::cout << "[video: " << event.text << "]" << std::flush;
        break;
      case G4V_PROGRESS:
        std::cerr << "\rstep " << event.step << " of " << event.steps
                  << (event.step == event.steps ? "\n" : "") << std::flush;
        break;
      case G4V_VIDEO_MADE:
        std::cout << "\n[" << event.frames.count << " frames at " << event.fps
                  << " per second: " << WriteFrames(folder, videos++, event.frames) << "]"
                  << std::flush;
        break;
      case G4V_WITHHELD:
        std::cout << "\n[withheld: " << event.unsafe_frames << " of " << event.video_frames
                  << " frames look unsafe]" << std::flush;
        break;
      case G4V_VIDEO_FAILED:
        std::cout << "\n[no video: " << event.message << "]" << std::flush;
        break;
      case G4V_WARNING:
        std::cerr << "warning: " << event.text << "\n";
        break;
      case G4V_REFUSAL:
      case G4V_VIDEO_FRAMES:  // comes where it is asked for
        break;
      case G4V_DONE:
        std::cout << "\n";
        std::cerr << event.new_tokens << " tokens, first after " << event.timings.first_token_ms
                  << " ms, all after " << event.timings.total_ms << " ms\n";
        break;
    }
  }
}

void Run(const Options& options) {
  g4v_error error;
  g4v_load_options load = {};
  load.struct_size = sizeof load;
  if (g4v_load_defaults(&load, &error) != G4V_OK) throw g4v::Error(error);
  if (!options.onnxruntime.empty()) load.onnxruntime = options.onnxruntime.c_str();
  g4v::Assistant assistant(options.bundle, &load);

  g4v_chat_options settings = {};
  settings.struct_size = sizeof settings;
  settings.seed = options.seed;
  g4v::Chat chat = assistant.Chat(&settings);
  const g4v_frames* frames = options.frames.count > 0 ? &options.frames : nullptr;
  g4v_frame_times times = {};
  times.struct_size = sizeof times;
  times.fps = options.fps;
  g4v_turn_options turn = {};
  turn.struct_size = sizeof turn;
  int videos = 0;
  const auto ask = [&](const std::string& question) {
    turn.frame_times = frames && options.fps > 0 ? &times : nullptr;
    Answer(chat.Send(question, frames, &turn), options.out, videos);
    frames = nullptr;
  };
  for (const std::string& question : options.questions) ask(question);
  if (!options.questions.empty()) return;
  for (std::string line; std::cerr << "> " && std::getline(std::cin, line);) {
    try {
      ask(line);
    } catch (const g4v::Error& mistake) {
      std::cerr << mistake.what() << "\n";  // the chat goes on
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Run(ParseArguments({argv + 1, argv + argc}));
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
