// The texts of argv and envp on their way from the caller of exec to the new program's stack: one stream of texts that
// end with a zero byte, in pages of the kernel's, because the space that they come from is about to go.
#pragma once

#include "kernel/lib/result.h"
#include "kernel/mem/page.h"
#include "sys/vm/space.h"

#include <string_view>

namespace proc {

class argument_list {
  public:
    static constexpr k::u64 longest_text = 128 * 1024; // the zero byte included

    // All texts, and 8 bytes of pointer for each, may take so many bytes: E2BIG else.
    explicit argument_list(k::u64 most_bytes) noexcept : left_(most_bytes) {}
    ~argument_list();
    argument_list(const argument_list&) = delete;

    // E2BIG, ENOMEM.
    k::status add(std::string_view text) noexcept;
    // A text of the running thread's memory. EFAULT too.
    k::status add(vm::space& from, xio::user_address at) noexcept;

    k::u64 bytes() const noexcept { return bytes_; }
    k::u64 count() const noexcept { return count_; }

    // Calls visit(piece) for each piece of the stream in order, until it returns false.
    template <class Visit> bool for_each_piece(Visit visit) const {
        for (const chunk* c = first_; c; c = c->next)
            if (!visit(std::string_view(c->text(), c->used))) return false;
        return true;
    }

  private:
    struct chunk {
        chunk* next;
        k::u64 used;
        char* text() noexcept { return reinterpret_cast<char*>(this + 1); }
        const char* text() const noexcept { return reinterpret_cast<const char*>(this + 1); }
    };
    static constexpr k::u64 chunk_bytes = arch::page_size - sizeof(chunk);

    k::status make_room() noexcept; // for one byte at least
    k::status take_pointer() noexcept;
    k::status took(k::u64 bytes) noexcept;

    chunk* first_ = nullptr;
    chunk* last_ = nullptr;
    k::u64 bytes_ = 0, count_ = 0;
    k::u64 left_;
};

} // namespace proc
