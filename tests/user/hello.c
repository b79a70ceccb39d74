// The first things that a program needs: arguments, environment, the auxiliary vector, its data, and to write and exit.
// No process is made here, so that this one can pass when little else does.
#define _GNU_SOURCE
#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/utsname.h>
#include <unistd.h>

static int number, failed;
static int data = 1234;
static int zeroes[5000];
static const char constant[] = "read only";
static _Thread_local int own = 77;

static void check(int good, const char* name) {
    char line[100];
    const int length = snprintf(line, sizeof line, "%sok %d - %s\n", good ? "" : "not ", ++number, name);
    if (write(1, line, length) != length) _exit(3);
    failed += !good;
}

static int all_zero(void) {
    int sum = 0;
    for (int at = 0; at < 5000; at++)
        sum |= zeroes[at];
    return sum == 0;
}

// The compiler spills with movaps, which wants 16-byte alignment at every call.
static __attribute__((noinline)) int aligned_stack(void) {
    char place[16] __attribute__((aligned(16)));
    memset(place, 1, sizeof place);
    __asm__ volatile("movaps (%0), %%xmm0" ::"r"(place) : "xmm0", "memory");
    return (uintptr_t)__builtin_frame_address(0) % 16 == 0;
}

static int headers_fit(void) {
    const Elf64_Phdr* header = (const Elf64_Phdr*)getauxval(AT_PHDR);
    if (!header || getauxval(AT_PHENT) != sizeof *header) return 0;
    int loads = 0;
    for (unsigned long at = 0; at < getauxval(AT_PHNUM); at++)
        loads += header[at].p_type == PT_LOAD;
    return loads > 0;
}

int main(int count, char** arguments) {
    struct utsname system;
    const unsigned char* random = (const unsigned char*)getauxval(AT_RANDOM);
    if (write(1, "1..15\n", 6) != 6) _exit(3);
    check(1, "writes");
    check(count >= 1 && arguments[0] && strlen(arguments[0]) > 0, "has_a_name");
    check(arguments[count] == NULL, "arguments_end");
    check(environ != NULL, "has_an_environment");
    check(data == 1234 && !strcmp(constant, "read only"), "data_is_there");
    check(all_zero(), "bss_is_zero");
    check(own == 77, "thread_local_data_is_there");
    check(aligned_stack(), "stack_is_aligned");
    check(getauxval(AT_PAGESZ) == 4096, "knows_the_page_size");
    check(headers_fit(), "finds_its_program_headers");
    check(random && (random[0] | random[1] | random[2] | random[3] | random[4]), "has_random_bytes");
    check(getauxval(AT_ENTRY) != 0 && getauxval(AT_UID) == getuid() && getauxval(AT_EGID) == getegid(),
          "auxiliary_vector_is_complete");
    check(getauxval(AT_EXECFN) && strlen((const char*)getauxval(AT_EXECFN)) > 0, "knows_its_file");
    check(uname(&system) == 0 && !strcmp(system.machine, "x86_64"), "uname_names_the_machine");
    char* heap = malloc(100000);
    if (heap) memset(heap, 5, 100000);
    check(heap && heap[99999] == 5, "heap_grows");
    free(heap);
    return failed ? 1 : 0;
}
