// What a terminal does to the bytes that pass it: editing of lines, echo, signals from the keyboard, and the
// processing of output. It knows no device, no process and no lock; whoever uses it serialises.
#pragma once

#include "kernel/files/termios.h"
#include "kernel/lib/format.h"

namespace files {

class line_discipline {
  public:
    static constexpr k::u32 capacity = 4096; // of input that waits to be read, the line being edited included

    const termios& settings() const noexcept { return settings_; }
    // A change between the canonical mode and the other makes a line of what waits.
    void set(const termios& to) noexcept;

    // Takes a byte that was typed; what the terminal shall show goes to `echo`. Returns the signal to be sent to
    // the foreground group, or 0.
    int type(char c, k::text_sink& echo) noexcept;
    // What a program writes, as the terminal shall get it.
    void print(std::string_view text, k::text_sink& to) noexcept;

    // Output shall wait (^S).
    bool stopped() const noexcept { return stopped_; }
    void set_stopped(bool on) noexcept { stopped_ = on; }

    // Bytes that a read could have now: in the canonical mode those of complete lines.
    k::u32 readable() const noexcept { return end_of_readable() - tail_; }
    // Bytes that stand in it.
    k::u32 used() const noexcept { return head_ - tail_; }
    // In the canonical mode: does a line wait, if only an empty one that says end of file?
    bool has_line() const noexcept { return line_ != tail_; }
    bool canonical() const noexcept { return local(local_canonical); }

    // Takes bytes out as one read gives them: in the canonical mode at most to the end of a line.
    struct taken {
        std::size_t bytes;
        bool line_ended;
    };
    taken take(std::span<char> to) noexcept;
    void drop_input() noexcept;

  private:
    // A byte of the ring: a mark says that a line ends with it. A marked zero is an end of file, not a byte.
    char& at(k::u32 index) noexcept { return ring_[index % capacity]; }
    bool marked(k::u32 index) const noexcept { return marks_[index % capacity / 64] >> (index % 64) & 1; }
    void mark(k::u32 index, bool on) noexcept;
    k::u32 end_of_readable() const noexcept { return canonical() ? line_ : head_; }
    bool full() const noexcept { return head_ - tail_ >= capacity - 1; }

    bool is(char c, control_character which) const noexcept {
        return settings_.characters[which] && static_cast<k::u8>(c) == settings_.characters[which];
    }
    // None of them means anything while somebody else does that work.
    bool local(local_flag flag) const noexcept {
        return (settings_.local & flag) && !(settings_.local & local_external);
    }
    int signal_of(char c) const noexcept;
    bool edit(char c, k::text_sink& echo) noexcept;
    void end_line(char c, k::text_sink& echo) noexcept;
    void append(char c, k::text_sink& echo) noexcept;
    void erase_character(k::text_sink& echo) noexcept;
    void erase_word(k::text_sink& echo) noexcept;
    void erase_line(k::text_sink& echo) noexcept;
    void reprint(k::text_sink& echo) noexcept;
    void show(char c, k::text_sink& to) noexcept;
    void show_back(k::u32 column, k::text_sink& to) noexcept;
    k::u32 column_after(k::u32 end) noexcept;
    k::u32 width_at(k::u32 index, k::u32 column) noexcept;
    void put(char c, k::text_sink& to) noexcept;
    void put_processed(char c, k::text_sink& to) noexcept;

    termios settings_ = default_termios;
    bool stopped_ = false;
    bool literal_ = false; // the next byte is taken as it is
    char ring_[capacity];
    k::u64 marks_[capacity / 64] = {};
    // Positions that only grow: read up to tail_, complete lines up to line_, all input up to head_.
    k::u32 tail_ = 0, line_ = 0, head_ = 0;
    k::u32 column_ = 0;       // where the terminal's cursor stands
    k::u32 start_column_ = 0; // and stood when the line that is being edited began
};

} // namespace files
