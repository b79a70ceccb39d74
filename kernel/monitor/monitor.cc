#include "kernel/monitor/monitor.h"

#include "kernel/lib/log.h"
#include "kernel/monitor/commands.h"
#include "kernel/monitor/console_reader.h"
#include "kernel/monitor/line_editor.h"

namespace monitor {

namespace {

constinit line_editor editor; // of the thread that interacts; too large for its stack

// Gathers what the editor echoes, so that the console sees few writes.
class echo_sink final : public k::text_sink {
  public:
    void put(std::string_view text) override {
        for (char c : text) {
            if (used_ == sizeof(text_)) flush();
            text_[used_++] = c;
        }
    }
    void flush() {
        if (used_) k::log("{}", std::string_view(text_, used_));
        used_ = 0;
    }

  private:
    char text_[256];
    std::size_t used_ = 0;
};

// Empty if it was cancelled.
std::string_view read_line(console_reader& input) {
    echo_sink echo;
    editor.begin(echo);
    for (;;) {
        if (input.empty()) echo.flush();
        const line_editor::outcome came = editor.feed(input.next(), echo);
        if (came == line_editor::outcome::more) continue;
        echo.flush();
        return came == line_editor::outcome::finished ? editor.line() : std::string_view();
    }
}

std::string_view objection(k::error e) {
    switch (e) {
    case k::error::toobig: return "it is longer than 4096 bytes";
    case k::error::noent: return "it holds no command";
    default: return "it holds a character that is not printable";
    }
}

bool run_module_text(std::span<const std::byte> module) {
    auto text = command_text(module);
    if (text) return run_commands(*text);
    k::log("the boot module is not run: {}\n", objection(text.error()));
    return false;
}

} // namespace

void interact() {
    alignas(console_reader) std::byte place[sizeof(console_reader)];
    auto& input = *new (place) console_reader;
    k::log("type help for a list of commands\n");
    for (;;)
        run_commands(read_line(input));
}

bool run_module(std::span<const std::byte> text) {
    k::log("\x01"
           "exec-begin\n");
    const bool good = run_module_text(text);
    k::log("\x01"
           "exec-end {}\n",
           good ? 0 : 1);
    return good;
}

} // namespace monitor
