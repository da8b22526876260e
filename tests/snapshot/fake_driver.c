/* As much of NVIDIA's driver and management library as snapshot/ calls, for machines that have neither.
 *
 * A process is on the GPU if --alias stands in its command line, as in llama-server's, and holds 1 GiB of 8 there. One
 * that is checkpointed is stopped (SIGSTOP): whatever is asked of it then waits for ever, unless it is restored.
 *
 * The folder FAKE_GPU holds what a test wants to see and to have: `calls` gets a line for each call, `refuse` names a
 * function and the code with which it fails, `others` says how many GiB other programs hold, `version` and `init` are
 * what cuDriverGetVersion and cuInit give.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

enum { RUNNING, LOCKED, CHECKPOINTED, FAILED };
enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, OPERATING_SYSTEM = 304 };

#define GIB (1ULL << 30)
#define GPUS 2
#define MOST_PROCESSES 64

static struct { int pid, state; } processes[MOST_PROCESSES];
static int known;

static FILE *open_in_folder(const char *name, const char *mode) {
    char path[4096];
    const char *folder = getenv("FAKE_GPU");
    snprintf(path, sizeof path, "%s/%s", folder ? folder : "/nonexistent", name);
    return fopen(path, mode);
}

static int read_number(const char *name, int otherwise) {
    FILE *file = open_in_folder(name, "r");
    if (file) {
        if (fscanf(file, "%d", &otherwise) != 1) abort();
        fclose(file);
    }
    return otherwise;
}

static int refused(const char *function) {
    FILE *file = open_in_folder("calls", "a");
    if (file) {
        fprintf(file, "%s\n", function);
        fclose(file);
    }
    char name[64];
    int code = 0;
    if ((file = open_in_folder("refuse", "r"))) {
        if (fscanf(file, "%63s %d", name, &code) != 2 || strcmp(name, function)) code = 0;
        fclose(file);
    }
    return code;
}

static int is_on_gpu(int pid) {
    char path[64], text[65536];
    snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    for (size_t i = 0; i < length; i++)
        if (!text[i]) text[i] = ' ';
    text[length] = 0;
    return strstr(text, " --alias ") != NULL;
}

static int *state_of(int pid) {
    for (int i = 0; i < known; i++)
        if (processes[i].pid == pid) return &processes[i].state;
    if (known == MOST_PROCESSES) abort();
    processes[known].pid = pid;
    return &processes[known++].state;
}

static int move(const char *function, int pid, int from, int to) {
    int code = refused(function);
    if (code) return code;
    if (!is_on_gpu(pid)) return OPERATING_SYSTEM;
    if (*state_of(pid) != from) return INVALID_VALUE;
    *state_of(pid) = to;
    return 0;
}

int cuDriverGetVersion(int *version) {
    *version = read_number("version", 12080);
    return 0;
}

int cuInit(unsigned flags) { return (int)flags + read_number("init", 0); }

int cuGetErrorName(int code, const char **name) {
    *name = code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : code == OPERATING_SYSTEM ? "CUDA_ERROR_OPERATING_SYSTEM" : NULL;
    return *name ? 0 : INVALID_VALUE;
}

int cuCheckpointProcessGetState(int pid, int *state) {
    int code = refused("cuCheckpointProcessGetState");
    if (code) return code;
    if (!is_on_gpu(pid)) return kill(pid, 0) ? OPERATING_SYSTEM : NOT_INITIALIZED;
    *state = *state_of(pid);
    return 0;
}

int cuCheckpointProcessLock(int pid, const unsigned *args) {
    if (!args || !args[0]) abort(); /* it would wait for ever */
    return move("cuCheckpointProcessLock", pid, RUNNING, LOCKED);
}

int cuCheckpointProcessCheckpoint(int pid, void *args) {
    if (args) abort();
    int code = move("cuCheckpointProcessCheckpoint", pid, LOCKED, CHECKPOINTED);
    if (!code) kill(pid, SIGSTOP);
    return code;
}

static unsigned long long free_bytes(unsigned gpu) {
    unsigned long long used = gpu ? 0 : read_number("others", 0) * GIB;
    for (int i = 0; i < known && !gpu; i++)
        if (is_on_gpu(processes[i].pid) && processes[i].state != CHECKPOINTED) used += GIB;
    return 8 * GIB - used;
}

int cuCheckpointProcessRestore(int pid, void *args) {
    if (args) abort();
    if (free_bytes(0) < GIB) {
        *state_of(pid) = FAILED;
        return OUT_OF_MEMORY;
    }
    int code = move("cuCheckpointProcessRestore", pid, CHECKPOINTED, LOCKED);
    return code;
}

int cuCheckpointProcessUnlock(int pid, void *args) {
    if (args) abort();
    int code = move("cuCheckpointProcessUnlock", pid, LOCKED, RUNNING);
    if (!code) kill(pid, SIGCONT);
    return code;
}

int nvmlInit_v2(void) { return 0; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = GPUS;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    static int handles[GPUS];
    *handle = &handles[index];
    handles[index] = (int)index;
    return 0;
}

int nvmlDeviceGetMemoryInfo(const int *handle, unsigned long long *memory) {
    int code = refused("nvmlDeviceGetMemoryInfo");
    memory[0] = 8 * GIB;
    memory[1] = free_bytes((unsigned)*handle);
    memory[2] = memory[0] - memory[1];
    return code;
}
