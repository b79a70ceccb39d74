// libFuzzer on partition tables: a sound GPT or MBR chain in which an input changes something, with sums that are made
// right again or not. Whatever is found lies on the disk, and nothing over anything else (table_disk::find()).
#include "tests/drivers/block/table_disk.h"
#include "tests/fuzz/in_kernel.h"

using namespace partition_test;

namespace {

void put_chain(table_disk& d, fuzz::number_stream& decisions) {
    d.put_boot_record(0);
    for (unsigned i = 0; i < 4; i++)
        d.put_entry(0, i, decisions.one_in(3) ? type_extended : type_linux,
                    static_cast<k::u32>(decisions.below(256) * 8), static_cast<k::u32>(decisions.below(256) * 4));
    for (unsigned n = static_cast<unsigned>(decisions.below(8)); n; n--) {
        const k::u64 at = decisions.below(d.blocks());
        d.put_boot_record(at);
        d.put_entry(at, 0, type_linux, static_cast<k::u32>(decisions.below(256)),
                    static_cast<k::u32>(decisions.below(256)));
        d.put_entry(at, 1, type_extended, static_cast<k::u32>(decisions.below(d.blocks())),
                    static_cast<k::u32>(decisions.below(d.blocks())));
    }
}

void put_tables(table_disk& d, fuzz::number_stream& decisions) {
    for (unsigned n = static_cast<unsigned>(decisions.below(20)); n; n--)
        d.put_gpt_entry(static_cast<unsigned>(decisions.below(d.entries)), decisions.below(d.blocks()),
                        decisions.below(d.blocks()));
    d.put_gpt();
}

} // namespace

void fuzz::run_input(number_stream& decisions) {
    table_disk d(decisions.one_in(3) ? 4096 : 512);
    if (!d) return;
    const bool is_gpt = decisions.one_in(2);
    is_gpt ? put_tables(d, decisions) : put_chain(d, decisions);
    const bool seals = decisions.one_in(2);
    if (!decisions.one_in(8)) d.bad_sector = decisions.below(16 * sectors); // mostly none
    const k::u64 last = d.blocks() - 1;
    while (decisions.more()) {
        // Headers, entries, the last blocks, anywhere.
        const k::u64 areas[][2] = {
            {0, 512}, {d.block, 92}, {2 * d.block, 4 * d.each}, {last * d.block, 92}, {0, d.content.size()}};
        const auto& area = areas[decisions.below(5)];
        const k::u64 at = std::min(area[0] + decisions.below(area[1]), d.content.size() - 8);
        switch (decisions.below(4)) {
        case 0: d.put<k::u8>(at, static_cast<k::u8>(decisions.below(256))); break;
        case 1: d.put<k::u32>(at, ~k::u32{0} << decisions.below(32)); break;
        case 2: d.put<k::u64>(at, ~k::u64{0} >> decisions.below(64)); break;
        default: d.put<k::u64>(at, d.get<k::u64>(at) + decisions.below(5) - 2); break;
        }
    }
    // Right sums: what is a lie is believed as far as it can be.
    if (is_gpt && seals)
        for (const k::u64 header : {k::u64{1}, last}) {
            const k::u64 table = d.get<k::u64>(header * d.block + 72);
            const k::u64 bytes = k::u64{d.get<k::u32>(header * d.block + 80)} * d.get<k::u32>(header * d.block + 84);
            if (table <= last && bytes <= d.content.size() - table * d.block)
                d.put<k::u32>(header * d.block + 88, block::crc32(d.content.bytes().subspan(table * d.block, bytes)));
            d.seal_header(header);
        }
    (void)d.find();
}
