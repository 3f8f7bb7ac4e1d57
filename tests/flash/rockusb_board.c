/* A Rockchip board on USB, for rkdeveloptool: what it calls of libusb, with a board behind it.
 *
 * Built as libusb-1.0.so.0 and put before the real one. The board's storage is the file
 * $ROCKUSB_BOARD/storage, made by the test; "loaded" beside it says that the loader runs, and
 * "gone" that the board left the bus. What is not kept between two runs of the program is not the
 * board's. Commands as in RKComm.cpp of rockchip-linux/rkdeveloptool.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512
enum { TEST_READY = 0x00, READ_LBA = 0x14, WRITE_LBA = 0x15, READ_INFO = 0x1a, RESET = 0xff };
enum { ERROR_NO_DEVICE = -4, ERROR_TIMEOUT = -7 };

struct device_descriptor {
    uint8_t length, type;
    uint16_t usb;
    uint8_t class, subclass, protocol, packet;
    uint16_t vendor, product, release;
    uint8_t manufacturer, name, serial, configurations;
};
struct endpoint {
    uint8_t length, type, address, attributes;
    uint16_t packet;
    uint8_t interval, refresh, synch;
    const void *extra;
    int extra_length;
};
struct alternative {
    uint8_t length, type, number, setting, endpoints, class, subclass, protocol, name;
    const struct endpoint *endpoint;
    const void *extra;
    int extra_length;
};
struct interface {
    const struct alternative *alternatives;
    int count;
};
struct configuration {
    uint8_t length, type;
    uint16_t total;
    uint8_t interfaces, value, name, attributes, power;
    const struct interface *interface;
    const void *extra;
    int extra_length;
};

static const struct endpoint endpoints[] = {{.address = 0x81}, {.address = 0x02}};
static const struct alternative alternative = {
    .endpoints = 2, .class = 0xff, .subclass = 6, .protocol = 5, .endpoint = endpoints};
static const struct interface interface = {&alternative, 1};
static struct configuration configuration = {.interfaces = 1, .interface = &interface};
static void *boards[9];

static struct {
    uint8_t command[31]; /* command block wrapper that came last */
    uint32_t sector, left;
    int answered;
    int storage;
} board = {.storage = -1};

static const char *in_folder(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("ROCKUSB_BOARD"), name);
    return path;
}
static int is_there(const char *name) { return access(in_folder(name), F_OK) == 0; }
static void mark(const char *name) { close(open(in_folder(name), O_CREAT | O_WRONLY, 0644)); }
static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? strtol(text, NULL, 0) : otherwise;
}

int libusb_init(void **context) { return (void)context, 0; }
void libusb_exit(void *context) { (void)context; }
long libusb_get_device_list(void *context, void ***list) {
    long count = is_there("gone") ? 0 : number("ROCKUSB_BOARDS", 1);
    (void)context;
    for (long i = 0; i < count; i++) boards[i] = &boards[i];
    boards[count] = NULL;
    *list = boards;
    return count;
}
void libusb_free_device_list(void **list, int unref) { (void)list, (void)unref; }
void *libusb_ref_device(void *device) { return device; }
void libusb_unref_device(void *device) { (void)device; }
uint8_t libusb_get_bus_number(void *device) { return (void)device, 1; }
uint8_t libusb_get_port_number(void *device) { return (uint8_t)(1 + ((void **)device - boards)); }
int libusb_get_device_descriptor(void *device, struct device_descriptor *out) {
    (void)device;
    memset(out, 0, sizeof *out);
    out->usb = number("ROCKUSB_LOADER", 0) ? 0x0201 : 0x0200;
    out->vendor = 0x2207;
    out->product = (uint16_t)number("ROCKUSB_PRODUCT", 0x350b);
    return 0;
}
int libusb_get_active_config_descriptor(void *device, struct configuration **out) {
    (void)device;
    *out = &configuration;
    return 0;
}
void libusb_free_config_descriptor(struct configuration *given) { (void)given; }
int libusb_open(void *device, void **handle) {
    *handle = device;
    if (number("ROCKUSB_CLOSED", 0)) return -3; /* LIBUSB_ERROR_ACCESS */
    board.storage = open(in_folder("storage"), O_RDWR);
    return board.storage < 0 ? ERROR_NO_DEVICE : 0;
}
void libusb_close(void *handle) {
    (void)handle;
    if (board.storage >= 0) close(board.storage);
    board.storage = -1;
}
int libusb_claim_interface(void *handle, int number) { return (void)handle, (void)number, 0; }
int libusb_reset_device(void *handle) { return (void)handle, 0; }

/* The mask ROM: two programs, 0x471 for the memory and 0x472 for the rest; the last block of each
 * is not full. */
int libusb_control_transfer(void *handle, uint8_t type, uint8_t request, uint16_t value,
                            uint16_t index, unsigned char *data, uint16_t length,
                            unsigned timeout) {
    (void)handle, (void)type, (void)request, (void)value, (void)data, (void)timeout;
    if (number("ROCKUSB_REFUSES_LOADER", 0)) return ERROR_TIMEOUT;
    if (index == 0x472 && length < 4096) mark("loaded");
    return length;
}

static int begin(const uint8_t *data, int length) {
    memcpy(board.command, data, sizeof board.command);
    board.answered = 0;
    board.sector = (uint32_t)data[17] << 24 | data[18] << 16 | data[19] << 8 | data[20];
    board.left = SECTOR * (uint32_t)(data[22] << 8 | data[23]);
    return length == sizeof board.command ? 0 : ERROR_TIMEOUT;
}

/* Whether the fault that the test asked for comes now; a negative number: never. */
static int strikes(const char *fault) {
    long at = number(fault, -1);
    return at >= (long)board.sector && at < (long)board.sector + (long)board.left / SECTOR;
}

static int move(uint8_t *data, int length, int reading) {
    off_t at = (off_t)board.sector * SECTOR;
    usleep((useconds_t)number("ROCKUSB_DELAY_US", 0));
    if (strikes("ROCKUSB_VANISHES_AT")) return mark("gone"), ERROR_NO_DEVICE;
    if (strikes("ROCKUSB_HANGS_AT")) sleep(600);
    if (reading) {
        if (strikes("ROCKUSB_READ_FAILS_AT")) return ERROR_TIMEOUT;
        memset(data, 0, (size_t)length);
        return pread(board.storage, data, (size_t)length, at) < 0 ? ERROR_TIMEOUT : 0;
    }
    if (strikes("ROCKUSB_WRITE_FAILS_AT")) return ERROR_TIMEOUT;
    if (pwrite(board.storage, data, (size_t)length, at) != length) return ERROR_TIMEOUT;
    if (strikes("ROCKUSB_FLIPS_AT")) {
        uint8_t byte = (uint8_t)(data[7] ^ 0x10);
        if (pwrite(board.storage, &byte, 1, at + 7) != 1) return ERROR_TIMEOUT;
    }
    return 0;
}

static int answer(uint8_t *data, int length) {
    struct stat state;
    uint8_t status[13] = {'U', 'S', 'B', 'S'};
    if (!board.answered && board.command[15] == READ_INFO) {
        uint8_t info[11] = {0};
        uint32_t sectors;
        fstat(board.storage, &state);
        sectors = htole32((uint32_t)(state.st_size / SECTOR));
        memcpy(info, &sectors, 4);
        info[4] = 0, info[5] = 4, info[6] = 4; /* blocks of 512 KB, pages of 2 KB */
        board.answered = 1;
        memcpy(data, info, sizeof info);
        return sizeof info;
    }
    memcpy(status + 4, board.command + 4, 4);
    if (board.command[15] == RESET) mark("restarted");
    memcpy(data, status, (size_t)(length < 13 ? length : 13));
    return 13;
}

int libusb_bulk_transfer(void *handle, uint8_t pipe, uint8_t *data, int length, int *moved,
                         unsigned timeout) {
    int status;
    (void)handle, (void)timeout;
    *moved = 0;
    if (is_there("gone")) return ERROR_NO_DEVICE;
    if (!is_there("loaded") && !number("ROCKUSB_LOADER", 0)) return ERROR_TIMEOUT;
    if (!(pipe & 0x80) && memcmp(data, "USBC", 4) == 0 && length == 31) {
        *moved = length;
        return begin(data, length);
    }
    if (board.left && (board.command[15] == WRITE_LBA || board.command[15] == READ_LBA)) {
        status = move(data, length, pipe & 0x80);
        board.left = 0;
        *moved = status ? 0 : length;
        return status;
    }
    *moved = answer(data, length);
    return 0;
}
