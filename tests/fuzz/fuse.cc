// libFuzzer on what a FUSE program answers: requests of all shapes wait, and an input takes them and writes answers of
// any length, number and error. Whatever comes, each request has one answer at most, and no page is lost.
#include "tests/fuzz/in_kernel.h"
#include "tests/sys/vfs/fuse_line.h"

using namespace fuse_test;

namespace {

constexpr opcode opcodes[] = {opcode::look_up, opcode::forget,       opcode::read,
                              opcode::create,  opcode::get_extended, opcode::read_directory};

request_ref some_request(fuzz::number_stream& decisions) {
    auto made = request::make({.opcode = opcodes[decisions.below(std::size(opcodes))],
                               .node = decisions.below(5),
                               .how = static_cast<taking>(decisions.below(4)),
                               .most = decisions.below(2) ? decisions.below(128) : decisions.below(10000)});
    return made ? *std::move(made) : request_ref();
}

} // namespace

void fuzz::run_input(number_stream& decisions) {
    program p;
    REQUIRE(p && p->begin({}, ~k::u64{0}));
    static std::byte bytes[12000];
    k::u64 known[16] = {};
    unsigned at = 0;
    if (decisions.below(2)) { // with an init that is good
        auto init = p.take();
        REQUIRE(init);
        init_answer said{};
        said.major = major_version, said.minor = least_minor + static_cast<k::u32>(decisions.below(30));
        said.flags = page_count, said.most_pages = static_cast<k::u16>(decisions.below(65536));
        said.most_write = static_cast<k::u32>(decisions.below(1 << 22));
        REQUIRE(p.answer(init->unique, 0, std::as_bytes(std::span(&said, 1))));
        EXPECT(p->most_write() >= arch::page_size && p->most_write() <= 1 << 20);
    }
    while (decisions.more()) {
        switch (decisions.below(8)) {
        case 0:
        case 1:
            if (request_ref r = some_request(decisions)) (void)p->post(std::move(r));
            break;
        case 2:
        case 3:
            if (auto head = p.take()) known[at++ % 16] = head->unique;
            break;
        case 4: p->end({}, decisions.below(2)); break;
        default: {
            const k::u64 unique = decisions.below(8) ? known[decisions.below(16)] : decisions.below(1000);
            const k::u64 count = decisions.below(2) ? decisions.below(160) : decisions.below(sizeof(bytes));
            const k::i32 error = decisions.below(2) ? 0 : static_cast<k::i32>(decisions.below(1200)) - 600;
            const k::u64 claimed = sizeof(answer_head) + (decisions.below(8) ? count : decisions.below(1 << 16));
            const bool took = bool(p.answer(unique, error, {bytes, count}, claimed));
            if (took && !(unique & 1)) EXPECT(!p.answer(unique, 0)); // a second one
        }
        }
    }
}
