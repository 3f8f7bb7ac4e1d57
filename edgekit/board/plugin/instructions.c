/* A plugin of QEMU's user-mode emulators: what a program executes, counted.
 *
 * Every block of instructions is looked at once, when it is translated, and counted each time it
 * is entered; the sums are made at the end. Memory accesses cost a call each and are counted only
 * where `memory=on` asks for them.
 *
 * Each process appends one line to the file `out=PATH`: JSON, see edgekit/board/counts.py.
 * A forked child counts from zero. What a process becomes by exec is another emulator, without
 * this plugin: the line is written before, and says so. A program that wants to know what lies
 * between two points of it calls prctl(MARK) at both, which no kernel knows: a line each.
 *
 * No package holds qemu-plugin.h, so what is used of it is declared here.
 * Source: QEMU 7.2, include/qemu/qemu-plugin.h (plugin API version 1).
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
typedef struct {
    const char *target_name;
    struct { int min, cur; } version;
    bool system_emulation;
    struct { int smp_vcpus, max_vcpus; } system;
} qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { CB_NO_REGISTERS = 0, MEM_READ_OR_WRITE = 3 };
enum { MARK = 0x65646b74 }; /* "edkt" */

void qemu_plugin_register_vcpu_tb_trans_cb(
    qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(
    struct qemu_plugin_tb *, void (*)(unsigned, void *), int flags, void *);
void qemu_plugin_register_vcpu_mem_cb(
    struct qemu_plugin_insn *, void (*)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *),
    int flags, int direction, void *);
void qemu_plugin_register_vcpu_syscall_cb(
    qemu_plugin_id_t,
    void (*)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
             uint64_t, uint64_t, uint64_t));
void qemu_plugin_register_vcpu_syscall_ret_cb(
    qemu_plugin_id_t, void (*)(qemu_plugin_id_t, unsigned, int64_t, int64_t));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t);

EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(qemu_plugin_id_t, const qemu_info_t *, int, char **);

/* A straight run of instructions. Blocks are never freed: the emulator may translate the same
 * instructions again, and what they did before counts on. */
typedef struct Block {
    struct Block *next;
    uint64_t entered;
    uint32_t instructions, simd_fp, branches, memory;
} Block;

/* What a thread did to memory, in lines of the cache of its own. */
typedef struct {
    uint64_t loads, stores, loaded_bytes, stored_bytes;
    char room[32];
} Accesses;

/* Living threads have different numbers; those beyond the last share it. */
enum { SLOTS = 256, SHARED = SLOTS - 1 };

static Block *blocks;
static Accesses accesses[SLOTS];
static char out[4096];
static bool aarch64, counts_memory, is_child;
static int64_t execve_number, execveat_number, prctl_number;

static void add(uint64_t *counter, uint64_t value) {
    __atomic_fetch_add(counter, value, __ATOMIC_RELAXED);
}

static uint64_t taken(uint64_t *counter) { return __atomic_exchange_n(counter, 0, __ATOMIC_RELAXED); }

/* Write what was counted since the last line, and start from zero. */
static void write_line(const char *end) {
    uint64_t instructions = 0, simd_fp = 0, branches = 0, memory = 0;
    uint64_t loads = 0, stores = 0, loaded_bytes = 0, stored_bytes = 0;
    Block *block = __atomic_load_n(&blocks, __ATOMIC_ACQUIRE);
    for (; block; block = block->next) {
        uint64_t entered = taken(&block->entered);
        instructions += entered * block->instructions;
        simd_fp += entered * block->simd_fp;
        branches += entered * block->branches;
        memory += entered * block->memory;
    }
    for (int slot = 0; slot < SLOTS; slot++) {
        loads += taken(&accesses[slot].loads);
        stores += taken(&accesses[slot].stores);
        loaded_bytes += taken(&accesses[slot].loaded_bytes);
        stored_bytes += taken(&accesses[slot].stored_bytes);
    }
    char line[512];
    int length = snprintf(
        line, sizeof line,
        "{\"child\": %s, \"end\": \"%s\", \"instructions\": %" PRIu64 ", \"simd_fp\": %" PRIu64
        ", \"branches\": %" PRIu64 ", \"memory\": %" PRIu64 ", \"loads\": %" PRIu64
        ", \"stores\": %" PRIu64 ", \"loaded_bytes\": %" PRIu64 ", \"stored_bytes\": %" PRIu64 "}\n",
        is_child ? "true" : "false", end, instructions, simd_fp, branches, memory, loads, stores,
        loaded_bytes, stored_bytes);
    int file = open(out, O_WRONLY | O_APPEND | O_CLOEXEC);
    /* A line that is missing is noticed by whoever reads the file. */
    if (file >= 0) {
        if (write(file, line, length) != length)
            perror(out);
        close(file);
    }
}

static void on_entered(unsigned cpu, void *block) {
    (void)cpu;
    add(&((Block *)block)->entered, 1);
}

static void on_access(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void *unused) {
    (void)address, (void)unused;
    Accesses *slot = &accesses[cpu < SHARED ? cpu : SHARED];
    uint64_t bytes = UINT64_C(1) << qemu_plugin_mem_size_shift(info);
    bool store = qemu_plugin_mem_is_store(info);
    uint64_t *times = store ? &slot->stores : &slot->loads;
    uint64_t *moved = store ? &slot->stored_bytes : &slot->loaded_bytes;
    if (cpu < SHARED) {
        *times += 1;
        *moved += bytes;
    } else {
        add(times, 1);
        add(moved, bytes);
    }
}

/* Source: Arm ARM, C4.1: the groups of A64 instructions by their bits 28 to 25. */
static void classify(Block *block, const struct qemu_plugin_insn *instruction) {
    uint32_t word;
    memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
    unsigned group = word >> 25 & 15;
    block->simd_fp += (group & 7) == 7;
    block->branches += (group & 14) == 10;
    block->memory += (group & 5) == 4;
}

static void on_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    Block *block = calloc(1, sizeof *block);
    if (!block)
        abort();
    block->instructions = qemu_plugin_tb_n_insns(tb);
    for (size_t index = 0; index < block->instructions; index++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(tb, index);
        if (aarch64)
            classify(block, instruction);
        if (counts_memory)
            qemu_plugin_register_vcpu_mem_cb(
                instruction, on_access, CB_NO_REGISTERS, MEM_READ_OR_WRITE, NULL);
    }
    block->next = __atomic_load_n(&blocks, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(
        &blocks, &block->next, block, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_entered, CB_NO_REGISTERS, block);
}

static bool is_exec(int64_t number) { return number == execve_number || number == execveat_number; }

static void on_syscall(
    qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c,
    uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    (void)id, (void)cpu, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (is_exec(number))
        write_line("exec");
    if (number == prctl_number && (uint32_t)a == MARK)
        write_line("mark");
}

static void on_syscall_return(qemu_plugin_id_t id, unsigned cpu, int64_t number, int64_t result) {
    (void)id, (void)cpu, (void)result;
    if (is_exec(number))
        write_line("exec failed");
}

static void on_exit_of_process(qemu_plugin_id_t id, void *unused) {
    (void)id, (void)unused;
    write_line("exit");
}

/* What the parent counted is in the child's copy of its memory. */
static void on_fork_in_child(void) {
    for (Block *block = blocks; block; block = block->next)
        block->entered = 0;
    memset(accesses, 0, sizeof accesses);
    is_child = true;
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    aarch64 = strcmp(info->target_name, "aarch64") == 0;
    /* Source: the kernel's include/uapi/asm-generic/unistd.h and arch/arm/tools/syscall.tbl. */
    execve_number = aarch64 ? 221 : 11;
    execveat_number = aarch64 ? 281 : 387;
    prctl_number = aarch64 ? 167 : 172;
    for (int index = 0; index < argc; index++) {
        if (!strncmp(argv[index], "out=", 4))
            snprintf(out, sizeof out, "%s", argv[index] + 4);
        else if (!strcmp(argv[index], "memory=on"))
            counts_memory = true;
        else if (strcmp(argv[index], "memory=off"))
            return -1;
    }
    if (!out[0] || pthread_atfork(NULL, NULL, on_fork_in_child))
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    qemu_plugin_register_vcpu_syscall_ret_cb(id, on_syscall_return);
    qemu_plugin_register_atexit_cb(id, on_exit_of_process, NULL);
    return 0;
}
