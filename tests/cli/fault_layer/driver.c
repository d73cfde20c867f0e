// A Vulkan driver in front of another one. It counts calls of entry points and makes one of them fail.
//
// FAULT_DRIVER  the library of the real driver
// FAULT_NAMES   the entry points to watch, separated by commas; each returns a VkResult
// FAULT_CALL    NAME:N:CODE  the N-th call of NAME and all later ones return CODE without reaching the real driver;
//               NAME:N:CODE:once  only the N-th
// FAULT_LOG     a file: receives a line "NAME failed" per failed call, and at the end "NAME COUNT" per watched name
//
// No header of Vulkan is needed: a watched entry point takes at most eight integers or pointers, which are passed on in
// their registers or places on the stack whatever their number is.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MOST 128

typedef void (*Function)(void);
typedef Function (*Lookup)(void *handle, const char *name);
typedef int64_t (*Entry)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

struct Watched {
    char name[96];
    _Atomic(Entry) real;
    atomic_int calls;
};

static struct Watched watched[MOST];
static int watched_count;
static void *driver;
static Lookup instance_lookup;
static _Atomic(Lookup) device_lookup;

static char failing[96];
static int failing_from, failing_code, failing_once;
static const char *log_path;

static void note(const char *name, const char *what) {
    char line[160];
    int length = snprintf(line, sizeof line, "%s %s\n", name, what);
    int file = log_path ? open(log_path, O_WRONLY | O_APPEND | O_CREAT, 0600) : -1;
    if (file < 0)
        return;
    if (write(file, line, (size_t)length) != length)
        abort();
    close(file);
}

__attribute__((destructor)) static void report(void) {
    for (int i = 0; i < watched_count; i++) {
        char count[16];
        snprintf(count, sizeof count, "%d", atomic_load(&watched[i].calls));
        note(watched[i].name, count);
    }
}

static void begin(void) {
    const char *library = getenv("FAULT_DRIVER");
    driver = library ? dlopen(library, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!driver) {
        fprintf(stderr, "fault layer: %s\n", library ? dlerror() : "FAULT_DRIVER is not set");
        return;
    }
    instance_lookup = (Lookup)dlsym(driver, "vk_icdGetInstanceProcAddr");
    log_path = getenv("FAULT_LOG");
    const char *names = getenv("FAULT_NAMES");
    while (names && *names && watched_count < MOST) {
        size_t length = strcspn(names, ",");
        snprintf(watched[watched_count++].name, sizeof watched->name, "%.*s", (int)length, names);
        names += length + (names[length] == ',');
    }
    const char *call = getenv("FAULT_CALL");
    if (call) {
        char mode[8] = "";
        if (sscanf(call, "%95[^:]:%d:%d:%7s", failing, &failing_from, &failing_code, mode) < 3)
            fprintf(stderr, "fault layer: FAULT_CALL is not NAME:N:CODE\n");
        failing_once = strcmp(mode, "once") == 0;
    }
}

static void begin_once(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, begin);
}

static int64_t enter(int index, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g,
                     uint64_t h) {
    struct Watched *entry = &watched[index];
    int call = atomic_fetch_add(&entry->calls, 1) + 1;
    if (!strcmp(entry->name, failing) && (failing_once ? call == failing_from : call >= failing_from)) {
        note(entry->name, "failed");
        return failing_code;
    }
    return atomic_load(&entry->real)(a, b, c, d, e, f, g, h);
}

// One function per watched entry point, since it is told which one it is by its address alone.
#define ENTER(index)                                                                                                   \
    static int64_t enter_##index(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g,  \
                                 uint64_t h) {                                                                         \
        return enter(index - 1000, a, b, c, d, e, f, g, h);                                                            \
    }
#define FIVE_FROM_0(X, tens) X(tens##0) X(tens##1) X(tens##2) X(tens##3) X(tens##4)
#define FIVE_FROM_5(X, tens) X(tens##5) X(tens##6) X(tens##7) X(tens##8) X(tens##9)
#define TEN(X, tens) FIVE_FROM_0(X, tens) FIVE_FROM_5(X, tens)
#define ALL(X)                                                                                                         \
    TEN(X, 100) TEN(X, 101) TEN(X, 102) TEN(X, 103) TEN(X, 104) TEN(X, 105) TEN(X, 106) TEN(X, 107) TEN(X, 108)        \
    TEN(X, 109) TEN(X, 110) TEN(X, 111) X(1120) X(1121) X(1122) X(1123) X(1124) X(1125) X(1126) X(1127)
#define LISTED(index) enter_##index,
ALL(ENTER)
static const Entry entries[MOST] = {ALL(LISTED)};

static Function watch(const char *name, Function real) {
    for (int i = 0; real && i < watched_count; i++) {
        if (!strcmp(watched[i].name, name)) {
            atomic_store(&watched[i].real, (Entry)real);
            return (Function)entries[i];
        }
    }
    return real;
}

static Function find_in_device(void *device, const char *name) {
    return watch(name, atomic_load(&device_lookup)(device, name));
}

EXPORT Function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
    begin_once();
    Function real = instance_lookup ? instance_lookup(instance, name) : NULL;
    if (real && !strcmp(name, "vkGetDeviceProcAddr")) {
        atomic_store(&device_lookup, (Lookup)real);
        return (Function)find_in_device;
    }
    return watch(name, real);
}

EXPORT Function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
    begin_once();
    Lookup lookup = driver ? (Lookup)dlsym(driver, "vk_icdGetPhysicalDeviceProcAddr") : NULL;
    return lookup ? watch(name, lookup(instance, name)) : NULL;
}

EXPORT int vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
    begin_once();
    int (*negotiate)(uint32_t *) =
        driver ? (int (*)(uint32_t *))dlsym(driver, "vk_icdNegotiateLoaderICDInterfaceVersion") : NULL;
    return negotiate ? negotiate(version) : -3;
}
