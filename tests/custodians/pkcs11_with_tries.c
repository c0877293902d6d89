/* SoftHSM2 as a token that counts wrong PINs: three lock it, which SoftHSM2 itself doesn't do, and a right one counts from the
 * beginning. And as one that gets stuck: where the file ORDERS names a function (Initialize, Login, Decrypt), it writes the file
 * ORDERS.there, and waits to be killed; where it says SlowLogin, a login takes a while; where it says HangsAtItsEnd or CrashesAtItsEnd,
 * whatever ends a session or the library does that, and so does its destructor; where it says OwnIv, the token encrypts by AES-GCM
 * with an IV that it draws itself, as it says in the caller's parameters. Compiled by the tests with -DMODULE="…" -DTRIES="…" -DORDERS="…". */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ulong;
/* CK_FUNCTION_LIST of PKCS#11 2.40: the version, and then the functions in their order. */
enum { INITIALIZE = 0, FINALIZE = 1, GET_TOKEN_INFO = 6, CLOSE_SESSION = 13, LOGIN = 18, ENCRYPT_INIT = 29, ENCRYPT = 30, DECRYPT = 34, FUNCTIONS = 68 };
struct list { unsigned char version[2]; void *functions[FUNCTIONS]; };

enum { PIN_INCORRECT = 0xa0, PIN_LOCKED = 0xa4, COUNT_LOW = 0x10000, FINAL_TRY = 0x20000, LOCKED = 0x40000 };
/* Where CK_TOKEN_INFO has its flags. */
enum { FLAGS_AT = 96 };

static struct list ours, *theirs;

static int wrong_ones(int set) {
    int n = 0;
    FILE *file = fopen(TRIES, set < 0 ? "r" : "w");
    if (!file) return 0;
    if (set < 0) { if (fscanf(file, "%d", &n) != 1) n = 0; } else fprintf(file, "%d", n = set);
    fclose(file);
    return n;
}

static int is_ordered(const char *what) {
    char order[32] = "";
    FILE *file = fopen(ORDERS, "r");
    if (!file) return 0;
    if (fscanf(file, "%31s", order) != 1) order[0] = 0;
    fclose(file);
    return !strcmp(order, what);
}

static void stuck_in(const char *function) {
    FILE *file;
    if (!is_ordered(function)) return;
    file = fopen(ORDERS ".there", "w");
    if (file) { fprintf(file, "%d", getpid()); fclose(file); }
    for (;;) pause();
}

static ulong initialize(void *arguments) {
    printf("a library that prints what nobody asked for\n");
    fflush(stdout);
    stuck_in("Initialize");
    return ((ulong (*)(void *))theirs->functions[INITIALIZE])(arguments);
}

static ulong get_token_info(ulong slot, void *info) {
    ulong said = ((ulong (*)(ulong, void *))theirs->functions[GET_TOKEN_INFO])(slot, info), flags;
    int n = wrong_ones(-1);
    memcpy(&flags, (char *)info + FLAGS_AT, sizeof flags);
    flags &= ~(ulong)(COUNT_LOW | FINAL_TRY | LOCKED);
    flags |= n >= 3 ? LOCKED : n == 2 ? FINAL_TRY | COUNT_LOW : n == 1 ? COUNT_LOW : 0;
    memcpy((char *)info + FLAGS_AT, &flags, sizeof flags);
    return said;
}

static ulong login(ulong session, ulong user, void *pin, ulong length) {
    stuck_in("Login");
    if (is_ordered("SlowLogin")) usleep(300000);
    if (wrong_ones(-1) >= 3) return PIN_LOCKED;
    ulong said = ((ulong (*)(ulong, ulong, void *, ulong))theirs->functions[LOGIN])(session, user, pin, length);
    if (said == PIN_INCORRECT) wrong_ones(wrong_ones(-1) + 1);
    if (!said) wrong_ones(0);
    return said;
}

static ulong decrypt(ulong session, void *data, ulong length, void *out, ulong *out_length) {
    stuck_in("Decrypt");
    return ((ulong (*)(ulong, void *, ulong, void *, ulong *))theirs->functions[DECRYPT])(session, data, length, out, out_length);
}

static void fail_at_the_end(void) {
    if (is_ordered("CrashesAtItsEnd")) abort();
    if (is_ordered("HangsAtItsEnd")) for (;;) pause();
}

static ulong finalize(void *reserved) {
    fail_at_the_end();
    return ((ulong (*)(void *))theirs->functions[FINALIZE])(reserved);
}

static ulong close_session(ulong session) {
    fail_at_the_end();
    return ((ulong (*)(ulong))theirs->functions[CLOSE_SESSION])(session);
}

__attribute__((destructor)) static void unload(void) { fail_at_the_end(); }

/* CK_MECHANISM, and CK_GCM_PARAMS as far as they matter here. */
struct mechanism { ulong kind; void *parameters; ulong length; };
struct gcm { unsigned char *iv; ulong iv_length, iv_bits; void *aad; ulong aad_length, tag_bits; };
enum { AES_GCM = 0x1087 };
static unsigned char *callers_iv;
static unsigned char own_iv[12] = { 'd', 'r', 'a', 'w', 'n', ' ', 'w', 'i', 't', 'h', 'i', 'n' };

static ulong encrypt_init(ulong session, struct mechanism *how, ulong key) {
    ulong (*init)(ulong, struct mechanism *, ulong) = (ulong (*)(ulong, struct mechanism *, ulong))theirs->functions[ENCRYPT_INIT];
    callers_iv = NULL;
    if (how->kind == AES_GCM && is_ordered("OwnIv")) {
        struct gcm gcm = *(struct gcm *)how->parameters;
        struct mechanism own = { AES_GCM, &gcm, sizeof gcm };
        if (gcm.iv_length != sizeof own_iv) return 0x71;
        callers_iv = gcm.iv;
        gcm.iv = own_iv;
        return init(session, &own, key);
    }
    return init(session, how, key);
}

static ulong encrypt(ulong session, void *data, ulong length, void *out, ulong *out_length) {
    ulong said = ((ulong (*)(ulong, void *, ulong, void *, ulong *))theirs->functions[ENCRYPT])(session, data, length, out, out_length);
    /* As HSMs do: once it has encrypted. */
    if (!said && out && callers_iv) memcpy(callers_iv, own_iv, sizeof own_iv);
    return said;
}

ulong C_GetFunctionList(struct list **list) {
    void *module = dlopen(MODULE, RTLD_NOW | RTLD_LOCAL);
    ulong (*of_module)(struct list **) = module ? dlsym(module, "C_GetFunctionList") : NULL;
    if (!of_module || of_module(&theirs)) return 5;
    ours = *theirs;
    ours.functions[INITIALIZE] = initialize;
    ours.functions[FINALIZE] = finalize;
    ours.functions[GET_TOKEN_INFO] = get_token_info;
    ours.functions[CLOSE_SESSION] = close_session;
    ours.functions[ENCRYPT_INIT] = encrypt_init;
    ours.functions[ENCRYPT] = encrypt;
    ours.functions[LOGIN] = login;
    ours.functions[DECRYPT] = decrypt;
    *list = &ours;
    return 0;
}
