/* The power sampler's steady loop: files that hold a number each, read at fixed times.
 *
 * sampler.py has the same loop, which is the reference and what happens where this is absent. C
 * does only what goes well: a text that is not plainly a number, and whatever the kernel refuses,
 * end the round, and Python (native.py) judges what was read. No fault is known in two places.
 *
 * Nothing here allocates, and it comes back often, for Python to look at signals and samples. */

#include <stdint.h>

#define SAMPLER_VERSION 1 /* counts up when a structure or a function changes; native.py asks */
#define TEXT_BYTES 64
#define MOST_DIGITS 18 /* 64 bits hold as many, whatever they are */
#define NS_PER_S 1000000000
#define CLOCK_MONOTONIC 1

typedef struct {
    long s, ns;
} Moment;

/* No header of a libc: the library is one for glibc and musl, which both have these names with
 * these arguments. (On 32-bit ARM their headers put others in place, and the offset of pread is of
 * 32 bits in the one and 64 in the other.) */
extern int clock_gettime(int clock, Moment *now);
extern int nanosleep(const Moment *pause, Moment *left);
extern long pread64(int file, void *text, unsigned long size, int64_t offset);
extern int *__errno_location(void);

/* What is read: the number in one file, or the product of two, times a factor. */
typedef struct {
    int64_t times, largest;
    int64_t *times_ns, *values; /* what this call read; room for most_rounds each */
    int64_t read_ns;            /* when the odd one was read */
    int32_t files[2];           /* the second is -1 where there is but one */
    int32_t kept;               /* how many this call read */
    int32_t odd;                /* whether the last round's is to be judged */
    int32_t error;              /* the kernel's, where there is a text missing */
    int32_t bytes[2];
    char texts[2][TEXT_BYTES];
} Rail;

typedef struct {
    int64_t period_ns; /* less than a second */
    int64_t due_ns;    /* of the next round; 0 for at once */
    int64_t end_ns;
    int64_t missed;    /* rounds that this call left out */
    Rail *rails;
    int32_t count, most_rounds;
    int32_t stopped;   /* set by another thread, at any time */
} Sampling;

static int64_t now_ns(void)
{
    Moment now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.s * NS_PER_S + now.ns;
}

/* The number that digits and the end of a line are, -1 for all else: a sign or a space may still
 * be right, which is for Python to say. */
static int64_t number_of(const char *text, int bytes)
{
    int64_t number = 0;
    if (bytes > 0 && text[bytes - 1] == '\n')
        bytes--;
    if (bytes < 1 || bytes > MOST_DIGITS)
        return -1;
    for (int i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        number = 10 * number + (text[i] - '0');
    }
    return number;
}

/* Both files before anything else is done: as little as can be lies between them. */
static int read_files(Rail *rail)
{
    rail->bytes[0] = rail->bytes[1] = 0;
    for (int i = 0; i < 2 && rail->files[i] >= 0; i++) {
        long bytes = pread64(rail->files[i], rail->texts[i], TEXT_BYTES, 0);
        if (bytes < 0)
            return *__errno_location();
        rail->bytes[i] = (int32_t)bytes;
    }
    return 0;
}

static int has_value(const Rail *rail, int64_t *value)
{
    uint64_t product = (uint64_t)rail->times;
    for (int i = 0; i < 2 && rail->files[i] >= 0; i++) {
        int64_t number = number_of(rail->texts[i], rail->bytes[i]);
        if (number < 0 || __builtin_mul_overflow(product, (uint64_t)number, &product))
            return 0;
    }
    *value = (int64_t)product;
    return product <= (uint64_t)rail->largest;
}

/* One reading; returns the time after it, which is the one before the next rail's. */
static int64_t take(Rail *rail, int64_t before_ns)
{
    int64_t value = 0;
    rail->error = read_files(rail);
    int64_t after_ns = now_ns();
    /* A sensor behind I2C takes its time: the value was true somewhere in between. */
    rail->read_ns = before_ns + (after_ns - before_ns) / 2;
    rail->odd = !has_value(rail, &value);
    if (!rail->odd) {
        rail->times_ns[rail->kept] = rail->read_ns;
        rail->values[rail->kept++] = value;
    }
    return after_ns;
}

/* Sleeps until the next round that can be kept; returns the time then, or 0 if there is to be none
 * now. A signal ends the sleep: Python looks at it and comes back. */
static int64_t wait_for_round(Sampling *all)
{
    int64_t now = now_ns();
    if (!all->due_ns)
        all->due_ns = now;
    for (; all->due_ns < now; all->missed++)
        all->due_ns += all->period_ns;
    int64_t until_ns = all->due_ns < all->end_ns ? all->due_ns : all->end_ns;
    if (until_ns > now) {
        Moment pause = {0, (long)(until_ns - now)};
        nanosleep(&pause, 0);
        now = now_ns();
    }
    int stopped = __atomic_load_n(&all->stopped, __ATOMIC_RELAXED);
    return stopped || now < all->due_ns || now >= all->end_ns ? 0 : now;
}

int32_t sampler_version(void)
{
    return SAMPLER_VERSION;
}

/* Samples until most_rounds are taken, a reading was odd, or there is to be no round now; returns
 * how many were taken. */
int32_t sampler_run(Sampling *all)
{
    int rounds = 0, odd = 0;
    all->missed = 0;
    for (int i = 0; i < all->count; i++)
        all->rails[i].kept = all->rails[i].odd = 0;
    while (rounds < all->most_rounds && !odd) {
        int64_t now = wait_for_round(all);
        if (!now)
            break;
        for (int i = 0; i < all->count; i++) {
            now = take(&all->rails[i], now);
            odd |= all->rails[i].odd;
        }
        all->due_ns += all->period_ns;
        rounds++;
    }
    return rounds;
}
