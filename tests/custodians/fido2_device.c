// Loaded before libfido2 into the programs of fido2-tools, it is the FIDO2 keys that are plugged in: what is left of libfido2 reads
// what the programs are given and prints what they print. Each directory of DEVICES is a key: `pin` and `tries` (of its PIN),
// `ID.credential` (32 bytes that compute with the PIN, 32 that compute without), `always-uv`, `no-hmac-secret`, `closed` (its device
// is not for this user), and `touch`, which
// says what comes of waiting for one: nothing if it isn't there, `never`, `hang`, `refuse`, `unplug`.
//
// DEVICES/stop names a step at which a program says who runs it, in DEVICES/stopped, and waits. DEVICES/log has the steps.

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct fido_dev fido_dev_t;
typedef struct fido_cred fido_cred_t;
typedef struct fido_assert fido_assert_t;
typedef struct fido_cbor_info fido_cbor_info_t;
typedef struct fido_dev_info fido_dev_info_t;
typedef struct {
    void *(*open)(const char *);
    void (*close)(void *);
    int (*read)(void *, unsigned char *, size_t, int);
    int (*write)(void *, const unsigned char *, size_t);
} fido_dev_io_t;

enum {
    OK = 0, UNSUPPORTED_OPTION = 0x2b, NO_CREDENTIALS = 0x2e, OPERATION_DENIED = 0x27, PIN_INVALID = 0x31, PIN_BLOCKED = 0x32,
    PIN_AUTH_BLOCKED = 0x34, PIN_REQUIRED = 0x36, ACTION_TIMEOUT = 0x3a, RX = -2, INVALID_ARGUMENT = -7, INTERNAL = -9,
};
enum { OMIT, NO, YES };

int fido_dev_info_set(fido_dev_info_t *, size_t, const char *, const char *, const char *, const fido_dev_io_t *, const void *);
const char *fido_cred_rp_id(const fido_cred_t *);
const char *fido_cred_user_name(const fido_cred_t *);
size_t fido_cred_user_id_len(const fido_cred_t *);
size_t fido_cred_clientdata_hash_len(const fido_cred_t *);
const char *fido_assert_rp_id(const fido_assert_t *);
size_t fido_assert_clientdata_hash_len(const fido_assert_t *);
const void *EVP_sha256(void);
unsigned char *HMAC(const void *, const void *, int, const unsigned char *, size_t, unsigned char *, unsigned *);

static char device[256];
static int extensions, up, uv;
static uint8_t id[1024], salt[64], secret[32], data[37], sig[70];
static size_t id_len, salt_len;

static const char *place(const char *name) {
    static char path[2048];
    snprintf(path, sizeof path, DEVICES "/%s%s%s", device, *device ? "/" : "", name);
    return path;
}

static bool is(const char *name) { return access(place(name), F_OK) == 0; }

static size_t get(const char *name, void *into, size_t most) {
    FILE *file = fopen(place(name), "r");
    size_t n = file ? fread(into, 1, most, file) : 0;
    if (file) fclose(file);
    return n;
}

static void put(const char *path, const char *mode, const char *text) {
    FILE *file = fopen(path, mode);
    if (!file || fputs(text, file) < 0 || fclose(file)) abort();
}

static void step(const char *name) {
    char wanted[32] = "", line[64];
    snprintf(line, sizeof line, "%s\n", name);
    put(DEVICES "/log", "a", line);
    FILE *file = fopen(DEVICES "/stop", "r");
    if (!file) return;
    if (!fgets(wanted, sizeof wanted, file) || strcmp(wanted, name)) { fclose(file); return; }
    fclose(file);
    snprintf(line, sizeof line, "%d", (int)getppid());
    put(DEVICES "/stopped.new", "w", line);
    rename(DEVICES "/stopped.new", DEVICES "/stopped");
    for (;;) pause();
}

static void *no_open(const char *path) { (void)path; return NULL; }
static void no_close(void *handle) { (void)handle; }
static int no_read(void *h, unsigned char *b, size_t n, int ms) { (void)h; (void)b; (void)n; (void)ms; return -1; }
static int no_write(void *h, const unsigned char *b, size_t n) { (void)h; (void)b; (void)n; return -1; }

int fido_dev_info_manifest(fido_dev_info_t *list, size_t most, size_t *found) {
    static const fido_dev_io_t io = { no_open, no_close, no_read, no_write };
    struct dirent **names;
    step("list");
    *found = 0;
    int n = scandir(DEVICES, &names, NULL, alphasort);
    for (int i = 0; i < n && *found < most; i++) {
        char path[300];
        if (strncmp(names[i]->d_name, "hidraw", 6)) continue;
        snprintf(path, sizeof path, "/dev/%s", names[i]->d_name);
        if (fido_dev_info_set(list, *found, path, "Example", "Key \033[2J", &io, NULL) != OK) abort();
        ++*found;
    }
    return OK;
}

int fido_dev_open(fido_dev_t *dev, const char *path) {
    (void)dev;
    if (strncmp(path, "/dev/hidraw", 11)) return INTERNAL;
    snprintf(device, sizeof device, "%s", path + 5);
    return is(".") && !is("closed") ? OK : INTERNAL;
}

int fido_dev_close(fido_dev_t *dev) { (void)dev; return OK; }
bool fido_dev_is_fido2(const fido_dev_t *dev) { (void)dev; return true; }
bool fido_dev_has_pin(const fido_dev_t *dev) { (void)dev; return is("pin"); }
int fido_dev_get_cbor_info(fido_dev_t *dev, fido_cbor_info_t *info) { (void)dev; (void)info; step("info"); return OK; }
int fido_dev_get_uv_retry_count(fido_dev_t *dev, int *n) { (void)dev; (void)n; return INTERNAL; }
int fido_bio_dev_get_info(fido_dev_t *dev, void *info) { (void)dev; (void)info; return UNSUPPORTED_OPTION; }

static int tries(void) {
    char text[16] = "8";
    get("tries", text, sizeof text - 1);
    return atoi(text);
}

int fido_dev_get_retry_count(fido_dev_t *dev, int *n) { (void)dev; *n = tries(); return OK; }

static char *extension_names[] = { "credProtect", "hmac-secret" };
static char *option_names[] = { "rk", "up", "plat", "alwaysUv", "clientPin" };
static bool option_values[5] = { true, true, false };
char **fido_cbor_info_extensions_ptr(const fido_cbor_info_t *info) { (void)info; return extension_names; }
size_t fido_cbor_info_extensions_len(const fido_cbor_info_t *info) { (void)info; return is("no-hmac-secret") ? 1 : 2; }
char **fido_cbor_info_options_name_ptr(const fido_cbor_info_t *info) { (void)info; return option_names; }
size_t fido_cbor_info_options_len(const fido_cbor_info_t *info) { (void)info; return 5; }
const bool *fido_cbor_info_options_value_ptr(const fido_cbor_info_t *info) {
    (void)info;
    option_values[3] = is("always-uv");
    option_values[4] = is("pin");
    return option_values;
}

// Whether the PIN is right. Of three wrong ones in a row the third closes the key until it is plugged in again.
static int check_pin(const char *pin) {
    char right[64] = "", text[16];
    static const char *row = "in-a-row";
    int left = tries();
    if (left == 0) return PIN_BLOCKED;
    if (is(row)) { memset(text, 0, sizeof text); get(row, text, 15); if (atoi(text) >= 3) return PIN_AUTH_BLOCKED; }
    get("pin", right, sizeof right - 1);
    if (!strcmp(pin, right)) {
        unlink(place("tries"));
        unlink(place(row));
        return OK;
    }
    snprintf(text, sizeof text, "%d", left - 1);
    put(place("tries"), "w", text);
    memset(text, 0, sizeof text);
    get(row, text, 15);
    int wrong = atoi(text) + 1;
    snprintf(text, sizeof text, "%d", wrong);
    put(place(row), "w", text);
    return left == 1 ? PIN_BLOCKED : wrong >= 3 ? PIN_AUTH_BLOCKED : PIN_INVALID;
}

static int touched(void) {
    char how[16] = "";
    step("touch");
    get("touch", how, sizeof how - 1);
    if (!strcmp(how, "hang")) for (;;) pause();
    if (!strcmp(how, "never")) return ACTION_TIMEOUT;
    if (!strcmp(how, "refuse")) return OPERATION_DENIED;
    if (!strcmp(how, "unplug")) return RX;
    return OK;
}

static const char *credential(void) {
    static char name[2100];
    for (size_t i = 0; i < id_len; i++) sprintf(name + 2 * i, "%02x", id[i]);
    strcpy(name + 2 * id_len, ".credential");
    return name;
}

int fido_cred_set_extensions(fido_cred_t *cred, int all) { (void)cred; extensions = all; return OK; }

int fido_dev_make_cred(fido_dev_t *dev, fido_cred_t *cred, const char *pin) {
    int r;
    (void)dev;
    if (strcmp(fido_cred_rp_id(cred), "rekeyfs") || strncmp(fido_cred_user_name(cred), "vault ", 6) ||
        fido_cred_user_id_len(cred) != 32 || fido_cred_clientdata_hash_len(cred) != 32 || extensions != 1)
        return INVALID_ARGUMENT;
    step(pin ? "make with pin" : "make");
    if (!pin && is("pin")) return PIN_REQUIRED;
    if (pin && (r = check_pin(pin)) != OK) return r;
    if ((r = touched()) != OK) return r;
    uint8_t random[96];
    int fd = open("/dev/urandom", O_RDONLY);
    if (fd < 0 || read(fd, random, sizeof random) != sizeof random) abort();
    close(fd);
    memcpy(id, random, id_len = 32);
    FILE *file = fopen(place(credential()), "w");
    if (!file || fwrite(random + 32, 1, 64, file) != 64 || fclose(file)) abort();
    return OK;
}

const char *fido_cred_fmt(const fido_cred_t *cred) { (void)cred; return "packed"; }
const unsigned char *fido_cred_authdata_ptr(const fido_cred_t *cred) { (void)cred; return data; }
size_t fido_cred_authdata_len(const fido_cred_t *cred) { (void)cred; return sizeof data; }
const unsigned char *fido_cred_id_ptr(const fido_cred_t *cred) { (void)cred; return id; }
size_t fido_cred_id_len(const fido_cred_t *cred) { (void)cred; return id_len; }
const unsigned char *fido_cred_sig_ptr(const fido_cred_t *cred) { (void)cred; return sig; }
size_t fido_cred_sig_len(const fido_cred_t *cred) { (void)cred; return sizeof sig; }
const unsigned char *fido_cred_x5c_ptr(const fido_cred_t *cred) { (void)cred; return NULL; }

int fido_assert_set_extensions(fido_assert_t *assert, int all) { (void)assert; extensions = all; return OK; }
int fido_assert_set_up(fido_assert_t *assert, int to) { (void)assert; up = to; return OK; }
int fido_assert_set_uv(fido_assert_t *assert, int to) { (void)assert; uv = to; return OK; }

int fido_assert_set_hmac_salt(fido_assert_t *assert, const unsigned char *bytes, size_t n) {
    (void)assert;
    if (n != 32 && n != 64) return INVALID_ARGUMENT;
    memcpy(salt, bytes, salt_len = n);
    return OK;
}

int fido_assert_allow_cred(fido_assert_t *assert, const unsigned char *bytes, size_t n) {
    (void)assert;
    if (n == 0 || n > sizeof id) return INVALID_ARGUMENT;
    memcpy(id, bytes, id_len = n);
    return OK;
}

int fido_dev_get_assert(fido_dev_t *dev, fido_assert_t *assert, const char *pin) {
    uint8_t computes[64];
    int r;
    (void)dev;
    if (strcmp(fido_assert_rp_id(assert), "rekeyfs") || fido_assert_clientdata_hash_len(assert) != 32) return INVALID_ARGUMENT;
    step(extensions == 0 ? "look" : pin ? "compute with pin" : "compute");
    if (uv == YES || (extensions == 1 && salt_len == 0)) return UNSUPPORTED_OPTION;
    if (id_len > 100 || get(credential(), computes, 64) != 64) return NO_CREDENTIALS;
    if (extensions == 0) return up == NO ? OK : INVALID_ARGUMENT;
    if (!pin && is("always-uv")) return PIN_REQUIRED;
    if (pin && (r = check_pin(pin)) != OK) return r;
    if (up != NO && (r = touched()) != OK) return r;
    HMAC(EVP_sha256(), computes + (pin ? 0 : 32), 32, salt, salt_len, secret, NULL);
    return OK;
}

size_t fido_assert_count(const fido_assert_t *assert) { (void)assert; return 1; }
const unsigned char *fido_assert_authdata_ptr(const fido_assert_t *assert, size_t n) { (void)assert; (void)n; return data; }
size_t fido_assert_authdata_len(const fido_assert_t *assert, size_t n) { (void)assert; (void)n; return sizeof data; }
const unsigned char *fido_assert_sig_ptr(const fido_assert_t *assert, size_t n) { (void)assert; (void)n; return sig; }
size_t fido_assert_sig_len(const fido_assert_t *assert, size_t n) { (void)assert; (void)n; return sizeof sig; }
const unsigned char *fido_assert_hmac_secret_ptr(const fido_assert_t *assert, size_t n) { (void)assert; (void)n; return extensions ? secret : NULL; }
size_t fido_assert_hmac_secret_len(const fido_assert_t *assert, size_t n) { (void)assert; (void)n; return extensions ? sizeof secret : 0; }
