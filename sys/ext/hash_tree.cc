#include "sys/ext/hash_tree.h"

#include "sys/ext/entries.h"

namespace ext {

namespace {

constexpr std::size_t dot_bytes = 12, dot_dot_at = dot_bytes;
constexpr std::size_t info_at = 2 * dot_bytes;
constexpr std::size_t root_start = info_at + sizeof(hash_tree_info);
constexpr std::size_t node_start = sizeof(entry_header);

// An entry of a leaf that is to be split.
struct hashed {
    u32 hash;
    u16 at, bytes;
};

// Puts some entries of a block into an empty one, the last up to the end.
void pack(std::span<const std::byte> from, std::span<const hashed> which, std::span<std::byte> to, std::size_t end) {
    std::memset(to.data(), 0, to.size());
    std::size_t at = 0;
    put_header(to, 0, {0, static_cast<u16>(end), 0, 0});
    for (const hashed& one : which) {
        const bool last = &one == &which.back();
        std::memcpy(to.data() + at, from.data() + one.at, one.bytes);
        entry_header h = header_at(to, at);
        h.bytes = static_cast<u16>(last ? end - at : one.bytes);
        put_header(to, at, h);
        at += one.bytes;
    }
}

// Takes entries out of a block, which end at `end`. The others stay where they are: a listing goes by places, and must
// not miss one that moves in front of it. False: the entries do not end where they have to.
bool take_out(std::span<std::byte> block, std::span<const hashed> which, std::size_t end) {
    for (const hashed& one : which) {
        entry_header h = header_at(block, one.at);
        h.inode = 0;
        put_header(block, one.at, h);
    }
    for (std::size_t at = 0;;) {
        entry_header h = header_at(block, at);
        const std::size_t next = at + h.bytes;
        if (next >= end) return next == end;
        const entry_header behind = header_at(block, next);
        if (behind.inode) {
            at = next;
            continue;
        }
        h.bytes = static_cast<u16>(h.bytes + behind.bytes);
        put_header(block, at, h);
    }
}

} // namespace

// --- Reading

unsigned hash_tree::limit_of(const volume& on, std::size_t start) noexcept {
    const std::size_t tail = on.keeps_sums() ? sizeof(hash_tree_tail) : 0;
    return static_cast<unsigned>((on.block_bytes() - start - tail) / sizeof(hash_tree_entry));
}

// Of all up to the last entry, and of the tail as if it had no sum.
u32 hash_tree::sum_of(node& n) noexcept {
    const std::span<const std::byte> block = n.block->bytes();
    const u32 sum = on_.sum(block.first(n.start + counts(n).count * sizeof(hash_tree_entry)), of_.checksum_seed());
    const std::size_t tail_at = n.start + counts(n).limit * sizeof(hash_tree_entry);
    const hash_tree_tail tail{n.block->as<hash_tree_tail>(tail_at).reserved, 0};
    return on_.sum_of(tail, sum);
}

k::status hash_tree::check(node& n) noexcept {
    if (n.block->is_known(n.block->node_is_right)) return {};
    const hash_tree_counts c = counts(n);
    if (c.limit != limit_of(on_, n.start) || !c.count || c.count > c.limit)
        return on_.damaged("a bad node in the index of the directory", of_.number);
    const u64 blocks = of_.disk_size() >> on_.block_shift();
    for (unsigned i = 0; i < c.count; i++)
        if (const u32 to = entry(n, i).block; !to || to >= blocks)
            return on_.damaged("the index leads out of the directory", of_.number);
    if (on_.keeps_sums() &&
        sum_of(n) != n.block->as<hash_tree_tail>(n.start + c.limit * sizeof(hash_tree_entry)).checksum)
        return on_.damaged("the checksum is wrong in the index of the directory", of_.number);
    n.block->note(n.block->node_is_right);
    return {};
}

k::status hash_tree::read_node(node& n, u64 logical, std::size_t start) noexcept {
    n.block = TRY(of_.block(logical));
    n.logical = logical;
    n.start = start;
    n.at = 0;
    if (!start) return {}; // the root, of which more is to be known first
    const entry_header h = header_at(n.block->bytes(), 0);
    if (h.inode || h.bytes != on_.block_bytes())
        return on_.damaged("a bad node in the index of the directory", of_.number);
    return check(n);
}

k::status hash_tree::read_root() noexcept {
    node& root = nodes_[0];
    TRY(read_node(root, 0, 0));
    const std::span block = root.block->bytes();
    const entry_header dot = header_at(block, 0), up = header_at(block, dot_dot_at);
    const hash_tree_info info = root.block->as<hash_tree_info>(info_at);
    if (dot.bytes != dot_bytes || up.name_bytes != 2 || dot_dot_at + up.bytes != block.size() || info.reserved ||
        info.bytes != sizeof(info) || info.levels >= most_levels)
        return on_.damaged("a bad root of the index of the directory", of_.number);
    if (info.kind > static_cast<u8>(hash_kind::tea)) return k::error::noent;
    kind_ = static_cast<hash_kind>(info.kind + (on_.names_are_unsigned() ? 3 : 0));
    depth_ = info.levels;
    root.start = root_start;
    return check(root);
}

k::result<hash_tree> hash_tree::open(volume& on, inode& of) noexcept {
    if (!on.may_index() || !(of.record.flags & inode_is_indexed)) return k::error::noent;
    if (!of.disk_size() || of.disk_size() % on.block_bytes())
        return on.damaged("impossible size of the directory", of.number);
    hash_tree tree(on, of);
    TRY(tree.read_root());
    return tree;
}

// The last entry whose hash is not larger; the first one has all that are smaller.
void hash_tree::find(node& n, u32 hash) noexcept {
    unsigned low = 0, high = counts(n).count;
    while (high - low > 1) {
        const unsigned middle = (low + high) / 2;
        (entry(n, middle).hash <= hash ? low : high) = middle;
    }
    n.at = low;
}

k::result<u64> hash_tree::leaf() noexcept {
    // As many as the directory has blocks, or somebody is led in circles.
    if (leaves_seen_++ > of_.disk_size() >> on_.block_shift())
        return on_.damaged("too many leaves in the index of the directory", of_.number);
    return u64{entry(bottom(), bottom().at).block};
}

k::result<u64> hash_tree::first_leaf(std::string_view name) noexcept {
    hash_ = hash_of(name);
    leaves_seen_ = 0;
    find(nodes_[0], hash_);
    for (unsigned level = 1; level <= depth_; level++) {
        TRY(read_node(nodes_[level], entry(nodes_[level - 1], nodes_[level - 1].at).block, node_start));
        find(nodes_[level], hash_);
    }
    return leaf();
}

k::result<u64> hash_tree::next_leaf() noexcept {
    unsigned level = depth_;
    while (nodes_[level].at + 1u >= counts(nodes_[level]).count) {
        if (!level) return k::error::noent;
        level--;
    }
    node& n = nodes_[level];
    if ((entry(n, n.at + 1).hash & ~u32{1}) != hash_) return k::error::noent;
    n.at++;
    for (; level < depth_; level++)
        TRY(read_node(nodes_[level + 1], entry(nodes_[level], nodes_[level].at).block, node_start));
    return leaf();
}

// --- Changing

void hash_tree::changed(change& by, node& n) noexcept {
    if (on_.keeps_sums())
        n.block->as<hash_tree_tail>(n.start + counts(n).limit * sizeof(hash_tree_entry)).checksum = sum_of(n);
    by.changed(*n.block);
}

k::status hash_tree::add(change& by, node& n) noexcept {
    n.logical = of_.disk_size() >> on_.block_shift();
    n.block = TRY(of_.add_block(by));
    put_header(n.block->bytes(), 0, {0, static_cast<u16>(on_.block_bytes()), 0, 0});
    n.start = node_start;
    n.at = 0;
    counts(n) = {static_cast<u16>(limit_of(on_, node_start)), 0, 0};
    return {};
}

// Behind the one that was followed.
void hash_tree::insert(node& n, u32 hash, u64 logical) noexcept {
    const unsigned count = counts(n).count, at = n.at + 1;
    for (unsigned i = count; i > at; i--)
        entry(n, i) = entry(n, i - 1);
    entry(n, at) = {hash, static_cast<u32>(logical)};
    counts(n).count = static_cast<u16>(count + 1);
}

// All that the root names moves to a node below it.
k::status hash_tree::deepen(change& by) noexcept {
    node &root = nodes_[0], &below = nodes_[1];
    TRY(add(by, below));
    const unsigned count = counts(root).count;
    for (unsigned i = 1; i < count; i++)
        entry(below, i) = entry(root, i);
    entry(below, 0).block = entry(root, 0).block;
    counts(below).count = static_cast<u16>(count);
    below.at = root.at;
    changed(by, below);
    root.at = 0;
    counts(root).count = 1;
    entry(root, 0).block = static_cast<u32>(below.logical);
    root.block->as<hash_tree_info>(info_at).levels = 1;
    depth_ = 1;
    changed(by, root);
    return {};
}

// The upper half of a full node moves to one of its own.
k::status hash_tree::split_node(change& by) noexcept {
    node &root = nodes_[0], &full = nodes_[1];
    node upper;
    TRY(add(by, upper));
    const unsigned count = counts(full).count, stay = count / 2;
    const u32 hash = entry(full, stay).hash;
    for (unsigned i = stay + 1; i < count; i++)
        entry(upper, i - stay) = entry(full, i);
    entry(upper, 0).block = entry(full, stay).block;
    counts(upper).count = static_cast<u16>(count - stay);
    insert(root, hash, upper.logical);
    counts(full).count = static_cast<u16>(stay);
    for (node* n : {&upper, &root, &full})
        changed(by, *n);
    if (full.at < stay) return {};
    upper.at = full.at - stay;
    root.at++;
    full = std::move(upper);
    return {};
}

k::status hash_tree::make_room(change& by) noexcept {
    const auto is_full = [](node& n) { return counts(n).count == counts(n).limit; };
    if (!is_full(bottom())) return {};
    if (!depth_) return deepen(by);
    if (is_full(nodes_[0])) return k::error::fbig;
    return split_node(by);
}

// Half of a leaf's entries, those with the larger hashes, move to a new one.
k::status hash_tree::split_leaf(change& by, metadata_block& leaf, std::string_view name, u32 number, u8 type) noexcept {
    const std::span block = leaf.bytes();
    array<hashed> all;
    for (std::size_t at = 0; at < block.size(); at += header_at(block, at).bytes) {
        const entry_header h = header_at(block, at);
        if (!h.inode || !h.name_bytes) continue;
        TRY(all.append(
            {hash_of(name_at(block, at)), static_cast<u16>(at), static_cast<u16>(needed_for(h.name_bytes))}));
    }
    if (all.size() < 2) return k::error::fbig;
    std::ranges::sort(all.all(), {}, &hashed::hash);
    std::size_t stay = all.size(), bytes = 0;
    while (stay > 1 && bytes + all[stay - 1].bytes / 2 <= block.size() / 2)
        bytes += all[--stay].bytes;
    if (stay == all.size()) stay--;
    buffer low = TRY(buffer::create(on_.block_bytes())), high = TRY(buffer::create(on_.block_bytes()));
    const std::size_t end = entries_end(on_);
    pack(block, all.all().subspan(stay), high.bytes(), end);
    const u32 hash = all[stay].hash;
    const bool goes_on = all[stay - 1].hash == hash, goes_up = hash_ >= hash;
    const auto put_low = [&] { return goes_up || put_into(on_, low.bytes(), name, number, type); };
    std::memcpy(low.bytes().data(), block.data(), block.size());
    if (!take_out(low.bytes(), all.all().subspan(stay), end) || !put_low()) {
        pack(block, all.all().first(stay), low.bytes(), end);
        if (!put_low()) return k::error::fbig;
    }
    if (goes_up && !put_into(on_, high.bytes(), name, number, type)) return k::error::fbig;
    TRY(make_room(by));
    const u64 fresh = of_.disk_size() >> on_.block_shift();
    const metadata_ref upper = TRY(of_.add_block(by));
    std::ranges::copy(high.bytes(), upper->bytes().begin());
    changed_entries(by, of_, *upper);
    insert(bottom(), hash | (goes_on ? 1 : 0), fresh);
    changed(by, bottom());
    std::ranges::copy(low.bytes(), block.begin());
    changed_entries(by, of_, leaf);
    return {};
}

k::status hash_tree::add(change& by, std::string_view name, u32 number, u8 type) noexcept {
    const metadata_ref leaf = TRY(entries_of(on_, of_, TRY(first_leaf(name))));
    if (!put_into(on_, leaf->bytes(), name, number, type)) return split_leaf(by, *leaf, name, number, type);
    changed_entries(by, of_, *leaf);
    return {};
}

k::status hash_tree::make(change& by, inode& of) noexcept {
    volume& on = by.on();
    if (!on.may_index() || on.names_kind() > hash_kind::tea || of.disk_size() != on.block_bytes()) return {};
    hash_tree tree(on, of);
    node& root = tree.nodes_[0];
    TRY(entries_of(on, of, 0));
    TRY(tree.read_node(root, 0, 0));
    const std::span block = root.block->bytes();
    const entry_header dot = header_at(block, 0);
    if (dot.bytes != dot_bytes) return {};
    entry_header up = header_at(block, dot_dot_at);
    if (name_at(block, 0) != "." || name_at(block, dot_dot_at) != ".." || !up.inode) return {};
    array<hashed> all;
    for (std::size_t at = dot_dot_at + up.bytes; at < block.size(); at += header_at(block, at).bytes) {
        const entry_header h = header_at(block, at);
        if (h.inode && h.name_bytes)
            TRY(all.append({0, static_cast<u16>(at), static_cast<u16>(needed_for(h.name_bytes))}));
    }
    const metadata_ref leaf = TRY(of.add_block(by));
    pack(block, all.all(), leaf->bytes(), entries_end(on));
    changed_entries(by, of, *leaf);
    up.bytes = static_cast<u16>(block.size() - dot_dot_at);
    put_header(block, dot_dot_at, up);
    std::memset(block.data() + info_at, 0, block.size() - info_at);
    root.block->as<hash_tree_info>(info_at) = {0, static_cast<u8>(on.names_kind()), sizeof(hash_tree_info), 0, 0};
    root.start = root_start;
    counts(root) = {static_cast<u16>(limit_of(on, root_start)), 1, 1};
    root.block->forget_sum();
    tree.changed(by, root);
    of.record.flags |= inode_is_indexed;
    of.record_is_changed();
    return {};
}

void hash_tree::set_parent(change& by, u32 number) noexcept {
    const std::span root = nodes_[0].block->bytes();
    entry_header up = header_at(root, dot_dot_at);
    up.inode = number;
    put_header(root, dot_dot_at, up);
    changed(by, nodes_[0]);
}

} // namespace ext
