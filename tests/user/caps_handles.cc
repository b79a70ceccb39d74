// Services and messages by the C++ handles of user/caps.hpp, and a file system in a program that is C++.
#include "tests/user/tap.h"
#include "user/caps.hpp"
#include "user/userfs.h"

#include <sys/mount.h>
#include <sys/stat.h>

namespace {

enum { many = 4 * page };

// Other kernels have no such calls.
void begin() {
    if (caps_room(0, 0) < 0 && errno == ENOSYS) tap_skip("this kernel has no services");
}

const char* fresh_name() {
    static char name[32];
    snprintf(name, sizeof name, "handles.%d", getpid());
    return name;
}

bool is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}
bool is_mapped(const void* at) {
    return msync((void*)((uintptr_t)at & -(uintptr_t)page), page, MS_ASYNC) == 0;
}

char* filled(char with) {
    return static_cast<char*>(memset(anonymous(many), with, many));
}

void handles_move_and_close_once() {
    begin();
    caps::service one = caps::service::offer(fresh_name(), CAPS_USER);
    CHECK(one);
    const int fd = one.fd();
    {
        caps::service other = static_cast<caps::service&&>(one);
        CHECK(!one && one.fd() == -1 && other.fd() == fd && is_open(fd));
        one.close(); // there is nothing
        CHECK(is_open(fd));
    }
    CHECK(!is_open(fd));
    const caps::client nobody = caps::client::connect(fresh_name());
    CHECK(!nobody && errno == ENOENT);
    caps::service again = caps::service::offer(fresh_name(), CAPS_USER); // the name was free
    const int first = again.fd();
    again = caps::service::offer("handles.another", CAPS_USER);
    CHECK(again && again.fd() != first && !is_open(first));
    caps::service& itself = again;
    again = static_cast<caps::service&&>(itself);
    CHECK(is_open(again.fd()));
}

// Adds up the bytes of what comes, as often as it is asked.
void serve_sums(const char* name) {
    caps::service s = caps::service::offer(name, CAPS_USER);
    CHECK(s);
    for (caps::message m; s.reply_wait(m, CAPS_MAP);) {
        if (m.kind() != CAPS_REQUEST) continue;
        unsigned sum = 0;
        for (unsigned i = 0; i < m.items(); i++) {
            const char* seen;
            {
                const caps::item it = m.take(i);
                CHECK(it.kind() == CAPS_MAPPED);
                for (uint64_t at = 0; at < it.bytes(); at++)
                    sum += (unsigned char)it.data()[at];
                seen = it.data();
            }
            CHECK(!is_mapped(seen));
        }
        m.answer(sum ? 0 : ENODATA);
        CHECK(m.set_text(&sum, sizeof sum));
    }
}

void a_server_and_a_client_keep_nothing() {
    begin();
    IN_CHILD(server) serve_sums(fresh_name());
    char name[32];
    snprintf(name, sizeof name, "handles.%d", server);
    caps::client c = caps::client::connect(name, CAPS_USER | CAPS_WAIT, 10000000000);
    CHECK(c);
    char* bytes = filled(3);
    caps::message m;
    for (int turn = 0; turn < 100; turn++) {
        m.clear();
        CHECK(m.add_memory(bytes, many) && m.add_memory(bytes + 1, 7));
        CHECK(c.call(m));
        unsigned sum = 0;
        memcpy(&sum, m.text(), sizeof sum);
        CHECK_EQ(m.text_bytes(), sizeof sum);
        CHECK_EQ(sum, 3 * (many + 7));
        CHECK(m.kind() == CAPS_REPLY && m.result() == 0 && m.items() == 0 && m.sender().pid == server);
    }
    m.clear();
    CHECK(c.call(m) && m.result() == ENODATA);
    CHECK(kill(server, SIGKILL) == 0 && KILLED_BY(server) == SIGKILL);
    m.clear();
    CHECK(!c.call(m) && errno == ENOTCONN);
}

// By the kernel's echo: what is sent comes back.
void what_came_goes_with_its_message() {
    begin();
    caps::client echo = caps::client::connect("nutcracker.echo");
    CHECK(echo);
    char* bytes = filled(5);
    char* kept = nullptr;
    int descriptor = -1;
    {
        caps::message m;
        CHECK(m.add_memory(bytes, many) && echo.call(m, CAPS_MAP) && m.items() == 1);
        caps::item mine = m.take(0), nothing = m.take(0), neither = m.take(1);
        CHECK(mine && !nothing && !neither && mine.data()[many - 1] == 5);
        kept = mine.data();
        m.clear(); // the item was taken, and stays
        CHECK(is_mapped(kept));
        CHECK(m.add_memory(bytes, many) && echo.call(m) && m.items() == 1);
        descriptor = m.take(0).fd(); // and its end
        CHECK(!is_open(descriptor));
        CHECK(m.add_memory(bytes, many) && echo.call(m) && m.items() == 1); // nobody takes it
        CHECK(is_open(descriptor));
    }
    CHECK(!is_open(descriptor) && !is_mapped(kept));
}

void what_came_is_not_sent_again() {
    begin();
    caps::client echo = caps::client::connect("nutcracker.echo");
    char* bytes = filled(6);
    caps::message m;
    CHECK(m.set_text("text", 5) && m.add_memory(bytes, many) && echo.call(m) && m.items() == 1);
    CHECK(echo.call(m) && m.items() == 0 && !strcmp(m.text(), "text"));
    for (int i = 0; i < CAPS_MOST_ITEMS; i++)
        CHECK(m.add_memory(bytes, many));
    CHECK(!m.add_memory(bytes, many));
    CHECK(echo.call(m) && m.items() == CAPS_MOST_ITEMS);
    CHECK(!m.set_text(bytes, CAPS_MOST_TEXT + 1));
}

void room_is_filled_and_stays_ones_own() {
    begin();
    caps::client echo = caps::client::connect("nutcracker.echo");
    char *from = filled(7), *to = filled(0);
    {
        caps::message m;
        CHECK(m.add_memory(from, many) && m.add_room(to, many) && echo.call(m) && m.items() == 1);
        const caps::item it = m.take(0);
        CHECK(it.kind() == CAPS_FILLED && it.data() == to && it.bytes() == many);
    }
    CHECK(is_mapped(to) && to[0] == 7 && to[many - 1] == 7);
}

void a_put_and_its_reply_by_name() {
    begin();
    caps::client echo = caps::client::connect("nutcracker.echo");
    caps::message first, second;
    CHECK(first.set_text("1", 2) && second.set_text("2", 2));
    CHECK(echo.put(first) && echo.put(second) && first.id() != second.id());
    CHECK(echo.get(second) && !strcmp(second.text(), "2"));
    CHECK(echo.get(first) && !strcmp(first.text(), "1"));
    CHECK(!echo.get(first, CAPS_DONTWAIT));
    char* bytes = filled(8);
    first.clear(), second.clear();
    CHECK(first.add_memory(bytes, many) && echo.put(first));
    second.set_id(first.id());
    CHECK(echo.get(second, CAPS_PEEK) && second.kind() == CAPS_REPLY && second.items() == 0);
    CHECK(echo.get(first) && first.items() == 1 && is_open(first.take(0).fd()));
}

void requests_are_taken_back() {
    begin();
    caps::service s = caps::service::offer(fresh_name(), CAPS_USER);
    caps::client c = caps::client::connect(fresh_name());
    CHECK(s && c);
    caps::message m;
    CHECK(c.put(m));
    const uint64_t id = m.id();
    CHECK_EQ(c.abort(id), CAPS_REMOVED);
    CHECK(c.get(m) && m.id() == id && m.kind() == CAPS_RETURNED && m.result() == ECANCELED);
    CHECK(c.abort(id) == -1 && errno == EINVAL);
    m.clear();
    CHECK(c.put(m) && c.dispose(m.id()) && !c.dispose(m.id()) && errno == EINVAL);
    m.clear();
    m.set_timeout(1000000);
    CHECK(!c.call(m) && errno == ETIMEDOUT); // nobody takes it
    CHECK(!s.get(m, CAPS_DONTWAIT) && errno == EAGAIN);
}

void what_fails_is_sent_again_as_it_is() {
    begin();
    caps::service s = caps::service::offer(fresh_name(), CAPS_USER);
    caps::client c = caps::client::connect(fresh_name());
    caps::message m, got;
    m.set_timeout(1000000);
    CHECK(m.set_text("bytes", 6) && m.add_memory(filled('a'), many));
    CHECK(!c.call(m) && errno == ETIMEDOUT);
    CHECK(m.items() == 0 && c.put(m) && s.get(got) && got.items() == 1 && !strcmp(got.text(), "bytes"));
    // Who has replied is not taken to reply once more.
    got.answer();
    CHECK(s.reply(got));
    CHECK(!s.reply_wait(got, CAPS_DONTWAIT) && errno == EAGAIN);
}

// A server fills a room and keeps another one with its client.
void rooms_are_made_shared_and_passed_on() {
    begin();
    CHECK(!caps::item::make_room(0) && errno == EINVAL);
    caps::service s = caps::service::offer(fresh_name(), CAPS_USER | CAPS_INHERIT);
    IN_CHILD(server) {
        caps::message m;
        CHECK(s.get(m) && m.items() == 2);
        const caps::item pool = m.take(0), room = m.take(1);
        CHECK(pool.kind() == CAPS_SHARE && pool.is_writable() && room.kind() == CAPS_ROOM && room.bytes() == many);
        char* both = static_cast<char*>(mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_SHARED, pool.fd(), 0));
        CHECK(both != MAP_FAILED && both[0] == 'c');
        both[1] = 's';
        CHECK_EQ(write(room.fd(), "filled", 6), 6);
        m.answer();
        CHECK(m.add_descriptor(room.fd(), 0, 6, 1) && s.reply(m));
    }
    s.close();
    caps::client c = caps::client::connect(fresh_name());
    const caps::item pool = caps::item::make_room(page);
    CHECK(c && pool);
    char* mine = static_cast<char*>(mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_SHARED, pool.fd(), 0));
    CHECK(mine != MAP_FAILED);
    mine[0] = 'c';
    char* to = filled(0);
    caps::message m;
    CHECK(m.add_shared(pool, true) && m.add_room(to, many) && c.call(m));
    CHECK(m.items() == 1 && m.take(0).kind() == CAPS_FILLED && !memcmp(to, "filled", 6) && mine[1] == 's');
    CHECK_EQ(EXIT_STATUS(server), 0);
    caps::client echo = caps::client::connect("nutcracker.echo"); // which fills the room that it is handed
    const caps::item other = caps::item::make_room(many);
    m.clear();
    CHECK(m.pass_room(other) && m.add_memory(to, many) && echo.call(m) && m.items() == 1);
    const caps::item back = m.take(0);
    CHECK(back.bytes() == many && back.fills() == 0);
}

// --- A file system of one file.

const char content[] = "by a program in C++\n";

int mount_it(void*, userfs_question, userfs_attributes* out) {
    *out = {};
    out->node = 1, out->mode = S_IFDIR | 0755, out->links = 2;
    return 0;
}
int look_up(void*, userfs_question q, const char* name, userfs_attributes* out) {
    if (q->node != 1 || strcmp(name, "file")) return ENOENT;
    *out = {};
    out->node = 2, out->mode = S_IFREG | 0444, out->links = 1, out->size = sizeof content - 1;
    return 0;
}
int read_it(void*, userfs_question q, userfs_bytes* out) {
    const uint64_t left = q->offset < sizeof content - 1 ? sizeof content - 1 - q->offset : 0;
    *out = {-1, reinterpret_cast<uintptr_t>(content) + q->offset, out->bytes < left ? out->bytes : left};
    return 0;
}

void a_file_system_in_cxx_is_mounted() {
    begin();
    if (getuid()) tap_skip("only user 0 mounts");
    userfs_functions functions{};
    functions.mount = mount_it, functions.look_up = look_up, functions.read = read_it;
    caps::service s = caps::service::offer("handles.files", CAPS_USER | CAPS_INHERIT);
    CHECK(s);
    IN_CHILD(server) _exit(userfs_serve(s.fd(), &functions, nullptr) != 0);
    s.close(); // the child's from here on
    char folder[] = "/tmp/handles.XXXXXX", path[64], said[64] = "";
    CHECK(mkdtemp(folder));
    CHECK(mount("handles.files", folder, "user", 0, "") == 0);
    snprintf(path, sizeof path, "%s/file", folder);
    const int file = open(path, O_RDONLY);
    CHECK(file >= 0);
    CHECK_EQ(read(file, said, sizeof said), sizeof content - 1);
    CHECK(!strcmp(said, content));
    CHECK(close(file) == 0 && umount(folder) == 0 && rmdir(folder) == 0);
    CHECK_EQ(EXIT_STATUS(server), 0);
}

} // namespace

TAP_MAIN(T(handles_move_and_close_once), T(a_server_and_a_client_keep_nothing), T(what_came_goes_with_its_message),
         T(what_came_is_not_sent_again), T(room_is_filled_and_stays_ones_own), T(a_put_and_its_reply_by_name),
         T(requests_are_taken_back), T(what_fails_is_sent_again_as_it_is), T(rooms_are_made_shared_and_passed_on),
         T(a_file_system_in_cxx_is_mounted))
