/* NSS' software token (libsoftokn3) as a library of PKCS#11: it wants to be told where its database is as it is initialized, in a
 * member of the arguments that PKCS#11 doesn't have. Compiled by the tests with -DMODULE="…" -DPARAMETERS="…". */
#include <dlfcn.h>
#include <stddef.h>

typedef unsigned long ulong;
/* CK_FUNCTION_LIST of PKCS#11 2.40: the version, and then the functions in their order. */
enum { INITIALIZE = 0, FUNCTIONS = 68 };
struct list { unsigned char version[2]; void *functions[FUNCTIONS]; };
/* CK_C_INITIALIZE_ARGS of NSS. */
struct arguments { void *mutexes[4]; ulong flags; const char *parameters; void *reserved; };
enum { OS_LOCKING_OK = 2 };

static struct list ours, *theirs;

static ulong initialize(void *ignored) {
    struct arguments arguments = { .flags = OS_LOCKING_OK, .parameters = PARAMETERS };
    (void)ignored;
    return ((ulong (*)(void *))theirs->functions[INITIALIZE])(&arguments);
}

ulong C_GetFunctionList(struct list **list) {
    void *module = dlopen(MODULE, RTLD_NOW | RTLD_LOCAL);
    ulong (*of_module)(struct list **) = module ? dlsym(module, "C_GetFunctionList") : NULL;
    if (!of_module || of_module(&theirs)) return 5;
    ours = *theirs;
    ours.functions[INITIALIZE] = initialize;
    *list = &ours;
    return 0;
}
