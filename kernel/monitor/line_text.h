// A line of text with a fixed limit, which positions in it never leave.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace monitor {

class line_text {
  public:
    static constexpr std::size_t capacity = 256;

    std::string_view view() const { return {text_, length_}; }
    std::size_t length() const { return length_; }

    // Puts a character before position `at`, which is at most the length. False if the line is full.
    [[nodiscard]] bool insert(std::size_t at, char c) {
        if (length_ == capacity) return false;
        std::copy_backward(text_ + at, text_ + length_, text_ + length_ + 1);
        text_[at] = c;
        length_++;
        return true;
    }
    // Takes the characters [from, to) out.
    void erase(std::size_t from, std::size_t to) {
        std::copy(text_ + to, text_ + length_, text_ + from);
        length_ -= to - from;
    }
    // What does not fit is cut off.
    void assign(std::string_view text) { length_ = text.copy(text_, capacity); }

  private:
    char text_[capacity] = {};
    std::size_t length_ = 0;
};

} // namespace monitor
