/*
 * hello-guest: a small 64-bit kernel to debug. It does, one step after the other, what guests do to a virtual machine;
 * most steps cause VM exits. Start at kernel_main, set breakpoints, step, look around.
 */
#include <stddef.h>

#include "console.h"
#include "cpu.h"
#include "interrupts.h"
#include "layout.h"
#include "paging.h"
#include "power.h"
#include "timer.h"

/* ---- What the loader says ---- */

/* The beginning of PVH's struct hvm_start_info. */
struct pvh_start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, command_line, rsdp;
};

/* The beginning of multiboot's information structure. */
struct multiboot_info {
    uint32_t flags, memory_lower, memory_upper, boot_device, command_line;
};
#define MULTIBOOT_HAS_COMMAND_LINE 0x04

static const char *command_line = "";

static void show_boot_information(unsigned protocol, uint64_t information)
{
    const char *protocol_name = "multiboot";
    if (protocol == BOOTED_BY_PVH) {
        const struct pvh_start_info *info = (const struct pvh_start_info *)information;
        protocol_name = "PVH";
        if (info->command_line)
            command_line = (const char *)info->command_line;
    } else {
        const struct multiboot_info *info = (const struct multiboot_info *)information;
        if (info->flags & MULTIBOOT_HAS_COMMAND_LINE)
            command_line = (const char *)(uintptr_t)info->command_line;
    }
    print("hello-guest: booted by %s, command line '%s'\n", protocol_name, command_line);
}

static bool command_line_has(const char *word)
{
    for (const char *start = command_line; *start; start++) {
        size_t length = 0;
        while (word[length] && start[length] == word[length])
            length++;
        if (!word[length])
            return true;
    }
    return false;
}

/* ---- CPUID: exits unconditionally in a VM ---- */

#define CPUID_1_ECX_HYPERVISOR (1u << 31)
#define CPUID_1_EDX_APIC (1u << 9)

/* Twelve characters in three registers, as leaves 0 and 0x40000000 give them. */
static void unpack_signature(char text[13], uint32_t first, uint32_t second, uint32_t third)
{
    uint32_t words[3] = { first, second, third };
    for (int i = 0; i < 12; i++)
        text[i] = (char)(words[i / 4] >> (i % 4 * 8));
    text[12] = '\0';
}

static void show_processor(void)
{
    char vendor[13];
    struct cpuid_result leaf0 = cpuid(0, 0);
    unpack_signature(vendor, leaf0.ebx, leaf0.edx, leaf0.ecx);

    uint32_t brand[13] = { 0 };
    if (cpuid(0x80000000, 0).eax >= 0x80000004) {
        for (uint32_t i = 0; i < 3; i++) {
            struct cpuid_result part = cpuid(0x80000002 + i, 0);
            brand[4 * i] = part.eax;
            brand[4 * i + 1] = part.ebx;
            brand[4 * i + 2] = part.ecx;
            brand[4 * i + 3] = part.edx;
        }
    }
    print("cpuid: vendor '%s', brand '%s'\n", vendor, (const char *)brand);

    if (cpuid(1, 0).ecx & CPUID_1_ECX_HYPERVISOR) {
        char hypervisor[13];
        struct cpuid_result leaf = cpuid(0x40000000, 0);
        unpack_signature(hypervisor, leaf.ebx, leaf.ecx, leaf.edx);
        print("cpuid: running under a hypervisor, signature '%s', last leaf 0x%x\n", hypervisor, leaf.eax);
    } else {
        print("cpuid: no hypervisor bit\n");
    }
}

/* ---- Model-specific registers: exits where the MSR bitmap says so ---- */

static void use_msrs(void)
{
    uint64_t efer = read_msr(MSR_EFER);
    print("msr: EFER 0x%lx\n", efer);

    uint64_t entry_point = 0xffffffff81000000;
    write_msr(MSR_LSTAR, entry_point);
    uint64_t read_back = read_msr(MSR_LSTAR);
    print("msr: LSTAR 0x%lx, %s\n", read_back, read_back == entry_point ? "as written" : "NOT as written");
}

/* ---- Paging: one page, two addresses; and a page fault on purpose ---- */

/* Stores a byte; 0, or minus the vector of the exception that this raised. */
static int64_t try_store(uint64_t address, char value)
{
    int64_t result = 0;
    asm volatile("1:\tmovb %1, (%2)\n"
                 "2:\n\t" FIXUP
                 : "+a"(result)
                 : "r"(value), "r"(address)
                 : "memory");
    return result;
}

static void use_page_tables(void)
{
    const char *notice = "written at one address, read at another";
    for (int i = 0; notice[i]; i++)
        notice_page[i] = notice[i];
    print("paging: %p says '%s'\n", (void *)NOTICE_ALIAS, (const char *)NOTICE_ALIAS);

    int64_t result = try_store(NOTICE_ALIAS, 'W');
    if (result == -EXCEPTION_PAGE_FAULT)
        print("paging: a write there faults: page fault at 0x%lx\n", recovered.last_address);
    else
        print("paging: a write there gave %ld, where a page fault was due\n", result);
}

/* ---- Memory-mapped devices: EPT violations ---- */

#define NO_DEVICE 0xfeb00000ull
#define LOCAL_APIC 0xfee00000ull
#define LOCAL_APIC_ID 0x20
#define LOCAL_APIC_VERSION 0x30
#define LOCAL_APIC_SPURIOUS 0xf0
#define LOCAL_APIC_LINT0 0x350

static void touch_missing_device(void)
{
    mmio_write32(NO_DEVICE, 0x12345678);
    uint32_t value = mmio_read32(NO_DEVICE);
    print("mmio: nobody at 0x%lx, which reads 0x%08x\n", (uint64_t)NO_DEVICE, value);
}

static void use_local_apic(void)
{
    if (!(cpuid(1, 0).edx & CPUID_1_EDX_APIC)) {
        print("apic: none\n");
        return;
    }
    uint32_t id = mmio_read32(LOCAL_APIC + LOCAL_APIC_ID) >> 24;
    uint32_t version = mmio_read32(LOCAL_APIC + LOCAL_APIC_VERSION);
    print("apic: id %u, version 0x%02x, %u LVT entries\n", id, version & 0xff, (version >> 16 & 0xff) + 1);

    /* Virtual wire: let the 8259's interrupts through on LINT0. */
    mmio_write32(LOCAL_APIC + LOCAL_APIC_SPURIOUS, 0x1ff); /* enabled, spurious vector 255 */
    mmio_write32(LOCAL_APIC + LOCAL_APIC_LINT0, 0x700);    /* ExtINT, not masked */
}

/* ---- Hypercalls ---- */

#define KVM_HC_VAPIC_POLL_IRQ 1
#define KVM_ENOSYS 1000

/* KVM's convention: number in rax, first argument in rbx, result in rax. Minus the vector where VMCALL faults. */
static int64_t hypercall(uint64_t number, uint64_t argument)
{
    int64_t result = (int64_t)number;
    asm volatile("1:\tvmcall\n"
                 "2:\n\t" FIXUP
                 : "+a"(result)
                 : "b"(argument)
                 : "memory");
    return result;
}

static void call_hypervisor(void)
{
    int64_t result = hypercall(KVM_HC_VAPIC_POLL_IRQ, 0);
    if (result == -EXCEPTION_INVALID_OPCODE)
        print("vmcall: invalid opcode, nobody to call\n");
    else if (result == -KVM_ENOSYS)
        print("vmcall: answered, but knows no such hypercall (%ld)\n", result);
    else
        print("vmcall: result %ld\n", result);
}

/* ---- Plain C, for stepping: recursion, structures, pointers ---- */

enum run_state { TASK_RUNNING, TASK_WAITING, TASK_ZOMBIE };

struct task {
    char name[12];
    enum run_state state;
    unsigned priority : 4;
    unsigned kernel : 1;
    unsigned traced : 1;
    int samples[4];
    struct task *parent;
    struct task *next;
};

static struct task tasks[3] = {
    { .name = "init", .state = TASK_WAITING, .priority = 3, .samples = { 4, 8, 15, 16 }, .next = &tasks[1] },
    { .name = "shell", .state = TASK_RUNNING, .priority = 5, .traced = 1, .samples = { 23, 42, 1, 2 },
      .parent = &tasks[0], .next = &tasks[2] },
    { .name = "idle", .state = TASK_ZOMBIE, .kernel = 1, .samples = { -1, -2, -3, -4 }, .parent = &tasks[0] },
};

static int sum_samples(const struct task *task)
{
    int sum = 0;
    for (int i = 0; i < 4; i++)
        sum += task->samples[i];
    return sum;
}

static const char *state_name(enum run_state state)
{
    switch (state) {
    case TASK_RUNNING:
        return "running";
    case TASK_WAITING:
        return "waiting";
    case TASK_ZOMBIE:
        return "zombie";
    }
    return "?";
}

static void walk_tasks(void)
{
    int total = 0;
    for (struct task *task = &tasks[0]; task; task = task->next) {
        int sum = sum_samples(task);
        const char *parent = task->parent ? task->parent->name : "nobody";
        print("task: %-6s %-8s priority %u%s, child of %s, samples add up to %d\n", task->name,
              state_name(task->state), task->priority, task->kernel ? " (kernel)" : "", parent, sum);
        total += sum;
    }
    print("task: total %d\n", total);
}

static uint64_t factorial(unsigned n)
{
    if (n <= 1)
        return 1;
    return n * factorial(n - 1);
}

static void recurse(void)
{
    unsigned n = 10;
    uint64_t result = factorial(n);
    print("recursion: %u! = %lu\n", n, result);
}

/* ---- Timer interrupts, and HLT between them ---- */

static void sleep_a_while(void)
{
    timer_start(100);
    for (unsigned round = 1; round <= 3; round++) {
        timer_wait(2);
        print("timer: slept %lu ticks\n", ticks);
    }
}

/* ---- The way through ---- */

/* With 'crash' on the command line: an exception that nobody expects. */
static void crash_if_asked(void)
{
    if (command_line_has("crash"))
        asm volatile("ud2");
}

void kernel_main(unsigned boot_protocol, uint64_t boot_information)
{
    console_init();
    print("hello-guest: in 64-bit mode\n");
    show_boot_information(boot_protocol, boot_information);

    interrupts_init();
    paging_init();

    show_processor();
    use_msrs();
    use_page_tables();
    touch_missing_device();
    use_local_apic();
    call_hypervisor();
    recurse();
    walk_tasks();
    sleep_a_while();
    crash_if_asked();

    print("hello-guest: done\n");
    power_off(0);
}
