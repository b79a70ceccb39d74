// Debian's BusyBox, bash and zsh, as they are: what they do without a file system.
#include "tests/user/tap.h"

struct script {
    const char* text;
    const char* output;
    int status;
};

// Runs a program with its output in a pipe. Gives its status; -1 if a signal ended it.
static int run(char* const* arguments, const char* input, char* output, size_t room) {
    int in[2], out[2];
    CHECK(pipe(in) == 0 && pipe(out) == 0);
    char* const environment[] = {"PATH=/bin:/usr/bin", "HOME=/", "LC_ALL=C", "PS4=+ ", NULL};
    IN_CHILD(child) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(out[1], 2);
        for (int at = 3; at < 16; at++)
            close(at);
        execve(arguments[0], arguments, environment);
        dprintf(2, "%s: %s\n", arguments[0], strerror(errno));
        _exit(126);
    }
    close(in[0]);
    close(out[1]);
    CHECK_EQ(write(in[1], input, strlen(input)), strlen(input));
    close(in[1]);
    size_t used = 0;
    ssize_t count;
    while (used < room - 1 && (count = read(out[0], output + used, room - 1 - used)) > 0)
        used += count;
    output[used] = 0;
    close(out[0]);
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(char* const* arguments, const char* input, const char* output, int status) {
    static char got[1 << 16];
    const int ended = run(arguments, input, got, sizeof got);
    if (ended != status || strcmp(got, output)) {
        for (int at = 0; arguments[at]; at++)
            note("argument %d: %s", at, arguments[at]);
        note("status %d, wanted %d", ended, status);
        for (char* line = strtok(got, "\n"); line; line = strtok(NULL, "\n"))
            note("| %s", line);
        tap_fail(__FILE__, __LINE__, output);
    }
}

static void run_scripts(char* const* shell, int words, const struct script* scripts, int count) {
    char* arguments[8];
    for (int at = 0; at < words; at++)
        arguments[at] = shell[at];
    arguments[words + 1] = NULL;
    for (int at = 0; at < count; at++) {
        arguments[words] = (char*)scripts[at].text;
        expect(arguments, "", scripts[at].output, scripts[at].status);
    }
}

// In the way of all shells.
static const struct script common[] = {
    {"echo hello", "hello\n", 0},
    {"exit 7", "", 7},
    {"no-such-command-anywhere || echo $?", NULL, 0}, // its complaint differs: see below
    {"for i in 1 2 3; do echo $i; done", "1\n2\n3\n", 0},
    {"i=0; while [ $i -lt 1000 ]; do i=$((i+1)); done; echo $i", "1000\n", 0},
    {"echo a | while read x; do echo got $x; done", "got a\n", 0},
    {"(echo in a subshell; exit 3); echo $?", "in a subshell\n3\n", 0},
    {"x=$(echo inner; echo lines); echo \"$x\"", "inner\nlines\n", 0},
    {"f() { echo $1-$2; return 4; }; f a b; echo $?", "a-b\n4\n", 0},
    {"case abc in a*) echo yes;; *) echo no;; esac", "yes\n", 0},
    {"trap 'echo bye' EXIT; echo working", "working\nbye\n", 0},
    {"trap 'echo caught' USR1; kill -USR1 $$; echo after", "caught\nafter\n", 0},
    {"kill -TERM $$; echo never", "", -1},
    {"{ echo one; echo two; } | { read a; read b; echo $b $a; }", "two one\n", 0},
    {"echo 1 2 3 | (read a b; echo $b)", "2 3\n", 0},
    {"(exit 5) & wait $!; echo $?", "5\n", 0},
    {"for i in 1 2 3 4 5; do (exit $i) & done; wait; echo all", "all\n", 0},
    {"echo out; echo err >&2", "out\nerr\n", 0},
    {"exec 3>&1; echo three >&3; exec 3>&-", "three\n", 0},
    {"x=1; (x=2); echo $x", "1\n", 0},
    {"echo $((7*6)) $((0x10 | 3)) $((2**3 > 7))", NULL, 0},
    {"set -e; false; echo never", "", 1},
    {"y=abcdef; echo ${y%ef} ${y#ab} ${#y} ${z:-none}", "abcd cdef 6 none\n", 0},
    {"a=0; for i in 1 2 3 4 5 6 7 8 9 10; do a=$((a + $(echo $i))); done; echo $a", "55\n", 0},
    {"echo x | cat | cat | cat | cat | cat", "x\n", 0},
    {"/bin/busybox seq 1 20000 | /bin/busybox wc -l", "20000\n", 0},
    {"sleep 0.05; echo slept", "slept\n", 0},
    {"sleep 60 & kill $!; wait $!; echo $?", NULL, 0},
    {"yes | head -n 3", "y\ny\ny\n", 0},
};

static void run_common(char* const* shell, int words) {
    for (unsigned at = 0; at < sizeof common / sizeof common[0]; at++)
        if (common[at].output) run_scripts(shell, words, &common[at], 1);
}

static void busybox_shell_answers(void) {
    char* shell[] = {"/bin/busybox", "sh", "-c"};
    run_common(shell, 3);
    static const struct script own[] = {
        {"cat <<END\nhere\n$((1+1))\nEND", "here\n2\n", 0},
        {"echo $((7*6)) $((0x10 | 3))", "42 19\n", 0},
        // "Terminated" is said if it waits by then.
        {"sleep 60 & p=$!; (sleep 0.3; kill $p) & wait $p; echo $?", "Terminated\n143\n", 0},
        {"no-such-command-anywhere", "sh: no-such-command-anywhere: not found\n", 127},
        {"printf '%s-%d\\n' a 1 b 2", "a-1\nb-2\n", 0},
        {"ulimit -n 30; ulimit -n", "30\n", 0},
        {"read x; echo \"<$x>\"", "<>\n", 0},
    };
    run_scripts(shell, 3, own, sizeof own / sizeof own[0]);
}

static void busybox_applets_work(void) {
    static const struct {
        const char *applet[4], *input, *output;
        int status;
    } cases[] = {
        {{"true"}, "", "", 0},
        {{"false"}, "", "", 1},
        {{"cat"}, "some\nlines\n", "some\nlines\n", 0},
        {{"tac"}, "a\nb\nc\n", "c\nb\na\n", 0},
        {{"sort"}, "b\nc\na\n", "a\nb\nc\n", 0},
        {{"sort", "-n"}, "10\n9\n100\n", "9\n10\n100\n", 0},
        {{"uniq", "-c"}, "a\na\nb\n", "      2 a\n      1 b\n", 0},
        {{"wc"}, "one two\nthree\n", "        2         3        14\n", 0},
        {{"tr", "a-z", "A-Z"}, "shout\n", "SHOUT\n", 0},
        {{"cut", "-d:", "-f2"}, "a:b:c\n", "b\n", 0},
        {{"sed", "s/a/b/g"}, "banana\n", "bbnbnb\n", 0},
        {{"grep", "x.*z"}, "abc\nxyz\n", "xyz\n", 0},
        {{"grep", "-c", "nothing"}, "abc\n", "0\n", 1},
        {{"awk", "{ s += $1 } END { print s, 7/2 }"}, "1\n2\n3\n", "6 3.5\n", 0},
        {{"head", "-n", "2"}, "1\n2\n3\n", "1\n2\n", 0},
        {{"tail", "-n", "1"}, "1\n2\n3\n", "3\n", 0},
        {{"rev"}, "abc\n", "cba\n", 0},
        {{"fold", "-w", "3"}, "abcdef\n", "abc\ndef\n", 0},
        {{"expr", "6", "*", "7"}, "", "42\n", 0},
        {{"seq", "3"}, "", "1\n2\n3\n", 0},
        {{"basename", "/a/b/c.x", ".x"}, "", "c\n", 0},
        {{"dirname", "/a/b/c"}, "", "/a/b\n", 0},
        {{"factor", "1234567890"}, "", "1234567890: 2 3 3 5 3607 3803\n", 0},
        {{"md5sum"}, "abc", "900150983cd24fb0d6963f7d28e17f72  -\n", 0},
        {{"sha256sum"}, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -\n", 0},
        {{"base64"}, "hello", "aGVsbG8=\n", 0},
        {{"od", "-c"}, "ab\n", "0000000   a   b  \\n\n0000003\n", 0},
        {{"xargs", "echo", "x"}, "1 2\n3\n", "x 1 2 3\n", 0},
        {{"printf", "%05d\\n", "42"}, "", "00042\n", 0},
        {{"env", "-i"}, "", "", 0},
        {{"dc"}, "6 7 * p", "42\n", 0},
        {{"gzip", "-c"}, "", NULL, 0},
        {{"uname", "-m"}, "", "x86_64\n", 0},
        {{"usleep", "1000"}, "", "", 0},
    };
    for (unsigned at = 0; at < sizeof cases / sizeof cases[0]; at++) {
        char* arguments[6] = {"/bin/busybox"};
        for (int word = 0; word < 4; word++)
            arguments[word + 1] = (char*)cases[at].applet[word];
        if (cases[at].output) expect(arguments, cases[at].input, cases[at].output, cases[at].status);
    }
}

static void a_pipeline_of_applets(void) {
    char* shell[] = {"/bin/busybox", "sh", "-c"};
    static const struct script scripts[] = {
        {"busybox seq 1 5000 | busybox awk '{ print $1 % 7 }' | busybox sort | busybox uniq -c | busybox sort -n | "
         "busybox tail -n 1 | "
         "busybox tr -s ' '",
         " 715 2\n", 0},
        {"busybox seq 1 3000 | busybox gzip -c | busybox gunzip -c | busybox md5sum",
         "ee9762749fc5338b6c9b0948d14219c7  -\n", 0},
        {"busybox yes abcdefgh | busybox head -c 1000000 | busybox wc -c", "1000000\n", 0},
        {"busybox seq 1 200 | busybox xargs -n 20 busybox echo | busybox wc -l", "10\n", 0},
    };
    run_scripts(shell, 3, scripts, 4);
}

static void bash_answers(void) {
    char* shell[] = {"/bin/bash-static", "--norc", "--noprofile", "-c"};
    run_common(shell, 4);
    static const struct script own[] = {
        {"for ((i = 0; i < 3; i++)); do printf '%d ' $i; done; echo", "0 1 2 \n", 0},
        {"a=(x y z); echo ${a[1]} ${#a[@]}; declare -A m; m[k]=v; echo ${m[k]}", "y 3\nv\n", 0},
        {"[[ abc =~ ^a(.)c$ ]] && echo ${BASH_REMATCH[1]}", "b\n", 0},
        {"set -o pipefail; false | true; echo $?", "1\n", 0},
        {"cat <<< 'a string'", "a string\n", 0},
        {"coproc { read x; echo \"<$x>\"; }; echo hi >&${COPROC[1]}; read y <&${COPROC[0]}; echo $y", "<hi>\n", 0},
        {"(exit 6) & wait %1; echo $?", "6\n", 0},
        {"set -m; sleep 60 & kill -STOP %1; kill -KILL %1; wait %1 2>&1; echo $?", NULL, 0},
        {"time -p true 2>&1", NULL, 0},
        {"mapfile -t lines < <(echo 1; echo 2); echo ${#lines[@]}", NULL, 0}, // wants /dev/fd
        {"echo {a,b}{1..3}", "a1 a2 a3 b1 b2 b3\n", 0},
        {"x=$(for i in {1..2000}; do echo $i; done | cat); echo ${#x}", "8892\n", 0},
        {"trap 'echo int' INT; kill -INT $BASHPID; echo after", "int\nafter\n", 0},
        {"printf '%(%Y)T\\n' 0", "1970\n", 0},
    };
    for (unsigned at = 0; at < sizeof own / sizeof own[0]; at++)
        if (own[at].output) run_scripts(shell, 4, &own[at], 1);
}

static void zsh_answers(void) {
    char* shell[] = {"/bin/zsh-static", "-f", "-c"};
    for (unsigned at = 0; at < sizeof common / sizeof common[0]; at++)
        if (common[at].output) run_scripts(shell, 3, &common[at], 1);
    static const struct script own[] = {
        {"a=(x y z); echo $a[2] ${(j:-:)a}", "y x-y-z\n", 0},
        {"echo ${(U)$(echo shout)}", "SHOUT\n", 0},
        {"repeat 3 echo r", "r\nr\nr\n", 0},
        {"typeset -A m; m[k]=v; echo $m[k]", "v\n", 0},
        {"print -l {1..3}", "1\n2\n3\n", 0},
        {"false | true; echo $pipestatus", "1 0\n", 0},
        {"x=$(for i in {1..2000}; do echo $i; done | cat); echo ${#x}", "8892\n", 0},
        {"TRAPUSR1() { echo caught }; kill -USR1 $$; echo after", "caught\nafter\n", 0},
    };
    run_scripts(shell, 3, own, sizeof own / sizeof own[0]);
}

static void scripts_come_through_stdin(void) {
    char* busybox[] = {"/bin/busybox", "sh", NULL};
    char* bash[] = {"/bin/bash-static", "--norc", NULL};
    char* zsh[] = {"/bin/zsh-static", "-f", NULL};
    const char* text = "x=5\necho $x\nfor i in a b; do\necho $i\ndone\nexit 9\n";
    expect(busybox, text, "5\na\nb\n", 9);
    expect(bash, text, "5\na\nb\n", 9);
    expect(zsh, text, "5\na\nb\n", 9);
}

TAP_MAIN(T(busybox_shell_answers), T(busybox_applets_work), T(a_pipeline_of_applets), T(bash_answers), T(zsh_answers),
         T(scripts_come_through_stdin))
