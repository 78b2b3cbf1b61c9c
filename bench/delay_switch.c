/* A network between the network namespaces of one machine, for kernels without netem: reads the packets of one TUN device in
 * each namespace and writes each to the device of its destination, a set time after it was read. bench/namespaces.py makes
 * namespaces and devices and runs this.
 *
 * Usage: bench_delay_switch DELAY RATE DEVICE NAMESPACE=ADDRESS...
 *     DELAY   microseconds, one way
 *     RATE    bytes per second of each namespace's link, out and in apart; 0: no limit
 *
 * Prints "ready", runs until its standard input ends (so that it never outlives who started it) or SIGTERM, and prints one
 * JSON document: packets, bytes, packets that were dropped, and by how many microseconds packets left later than due.
 *
 * Devices have a virtio header, so that TCP hands over segments of up to 64 kB and nobody cuts them: at 1500 bytes each the
 * copies alone would take the processor that is to be measured. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
    PORTS_MOST = 64,
    HEADER = sizeof(struct virtio_net_hdr),
    PACKET_MOST = HEADER + 65536,
    BURST = 16,          // packets of one device before others get their turn
    HELD_MOST = 64 << 20 // bytes; what is not read waits in the device's own queue
};

typedef struct port {
    int file;
    uint32_t address;              // of its namespace, in the network's order
    int64_t sends_at, receives_at; // when its link is free, each way
} port;

typedef struct packet {
    int64_t due;
    uint64_t number; // the order of packets that are due together
    int to;
    size_t size;
    unsigned char data[];
} packet;

typedef struct network {
    int64_t delay; // nanoseconds
    double rate;   // bytes per nanosecond, 0: no limit
    port ports[PORTS_MOST];
    int port_count;
    packet **heap; // the first due on top
    size_t held, heap_room, bytes_held;
    uint64_t packets, bytes, dropped;
    double late_sum, late_most; // microseconds
} network;

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
    (void)signal;
    stopped = 1;
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int complain(const char *what, const char *name)
{
    fprintf(stderr, "bench_delay_switch: %s %s: %s\n", what, name, strerror(errno));
    return 0;
}

/* -------------------------------------------------------------------------------------------------------------- queue */

static int before(const packet *a, const packet *b)
{
    return a->due < b->due || (a->due == b->due && a->number < b->number);
}

static int heap_put(network *n, packet *p)
{
    if (n->held == n->heap_room) {
        size_t room = n->heap_room ? 2 * n->heap_room : 1024;
        packet **larger = realloc(n->heap, room * sizeof(*larger));
        if (!larger) return 0;
        n->heap = larger;
        n->heap_room = room;
    }
    size_t place = n->held++;
    while (place && before(p, n->heap[(place - 1) / 2])) {
        n->heap[place] = n->heap[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    n->heap[place] = p;
    n->bytes_held += p->size;
    return 1;
}

static packet *heap_take(network *n)
{
    packet *first = n->heap[0], *last = n->heap[--n->held];
    size_t place = 0;
    for (;;) {
        size_t child = 2 * place + 1;
        if (child >= n->held) break;
        if (child + 1 < n->held && before(n->heap[child + 1], n->heap[child])) child++;
        if (!before(n->heap[child], last)) break;
        n->heap[place] = n->heap[child];
        place = child;
    }
    n->heap[place] = last;
    n->bytes_held -= first->size;
    return first;
}

/* ------------------------------------------------------------------------------------------------------------ packets */

static int port_of(const network *n, const unsigned char *data, size_t size)
{
    uint32_t address;
    if (size < HEADER + 20 || data[HEADER] >> 4 != 4) return -1; // IPv6 looks for routers that are not there
    memcpy(&address, data + HEADER + 16, sizeof address);
    for (int i = 0; i < n->port_count; i++)
        if (n->ports[i].address == address) return i;
    return -1;
}

/* When a packet of that many bytes that begins at `begin` has passed a link that is free at `*free_at`. */
static int64_t pass(int64_t *free_at, int64_t begin, double nanoseconds)
{
    if (*free_at < begin) *free_at = begin;
    *free_at += (int64_t)nanoseconds;
    return *free_at;
}

static void accept_packet(network *n, int from, const unsigned char *data, size_t size)
{
    int to = port_of(n, data, size);
    if (to < 0) return;
    packet *p = malloc(sizeof *p + size);
    if (!p) {
        n->dropped++;
        return;
    }
    p->due = now() + n->delay;
    if (n->rate > 0) {
        double takes = (double)(size - HEADER) / n->rate;
        int64_t left = pass(&n->ports[from].sends_at, p->due - n->delay, takes) + n->delay;
        // Its first byte arrives as long before as it takes to pass the second link, which the delay is not to count twice.
        p->due = pass(&n->ports[to].receives_at, left - (int64_t)takes, takes);
    }
    p->number = n->packets++;
    p->to = to;
    p->size = size;
    n->bytes += size - HEADER;
    memcpy(p->data, data, size);
    if (heap_put(n, p)) return;
    free(p);
    n->dropped++;
}

/* Up to BURST packets that wait at a device. */
static void read_port(network *n, int from)
{
    static unsigned char data[PACKET_MOST];
    for (int i = 0; i < BURST && n->bytes_held < HELD_MOST; i++) {
        ssize_t size = read(n->ports[from].file, data, sizeof data);
        if (size <= 0) return;
        accept_packet(n, from, data, (size_t)size);
    }
}

static void write_due(network *n)
{
    while (n->held) {
        int64_t late = now() - n->heap[0]->due;
        if (late < 0) return;
        packet *p = heap_take(n);
        if (write(n->ports[p->to].file, p->data, p->size) < 0) n->dropped++;
        n->late_sum += 1e-3 * (double)late;
        if (n->late_most < 1e-3 * (double)late) n->late_most = 1e-3 * (double)late;
        free(p);
    }
}

/* -------------------------------------------------------------------------------------------------------------- ports */

/* The calling thread is left in that namespace; a device stays in the one where it was opened. */
static int open_port(network *n, const char *device, char *word)
{
    char path[128], *address = strchr(word, '=');
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    port *p = &n->ports[n->port_count];
    if (!address || n->port_count == PORTS_MOST || strlen(device) >= sizeof request.ifr_name) {
        errno = EINVAL;
        return complain("no place for", word);
    }
    *address++ = 0;
    if (inet_pton(AF_INET, address, &p->address) != 1) {
        errno = EINVAL;
        return complain("no address:", address);
    }
    snprintf(path, sizeof path, "/run/netns/%s", word);
    int space = open(path, O_RDONLY | O_CLOEXEC);
    if (space < 0) return complain("namespace", word);
    int entered = setns(space, CLONE_NEWNET);
    close(space);
    if (entered) return complain("namespace", word);
    p->file = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (p->file < 0) return complain("cannot open", "/dev/net/tun");
    n->port_count++;
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
    if (ioctl(p->file, TUNSETIFF, &request)) return complain("device", device);
    if (ioctl(p->file, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)) return complain("large segments at", device);
    return 1;
}

/* A packet is on time only where neither the timer's slack nor a rank that spins for messages comes before the switch. */
static void come_first(void)
{
    struct sched_param first = {.sched_priority = 50};
    if (sched_setscheduler(0, SCHED_FIFO, &first) && nice(-20) == -1)
        fprintf(stderr, "bench_delay_switch: it runs at no priority: delays may be longer than set\n");
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
}

static int ended(const struct pollfd *input)
{
    char ignored[64];
    return input->revents && read(input->fd, ignored, sizeof ignored) <= 0;
}

static void run(network *n)
{
    struct pollfd files[PORTS_MOST + 1];
    for (int i = 0; i < n->port_count; i++) files[i] = (struct pollfd){.fd = n->ports[i].file};
    struct pollfd *input = &files[n->port_count];
    *input = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    while (!stopped) {
        struct timespec wait, *most = NULL;
        if (n->held) {
            int64_t left = n->heap[0]->due - now();
            if (left < 0) left = 0;
            wait = (struct timespec){.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
            most = &wait;
        }
        for (int i = 0; i < n->port_count; i++) files[i].events = n->bytes_held < HELD_MOST ? POLLIN : 0;
        if (ppoll(files, (nfds_t)n->port_count + 1, most, NULL) < 0 && errno != EINTR) return;
        write_due(n);
        for (int i = 0; i < n->port_count; i++)
            if (files[i].revents & POLLIN) read_port(n, i);
        write_due(n); // without a delay all of it
        if (ended(input)) return;
    }
}

static int number(const char *word, double *value)
{
    char *end;
    *value = strtod(word, &end);
    return end != word && !*end && *value >= 0 && *value <= 1e12;
}

int main(int argc, char **argv)
{
    static network n;
    double delay, rate;
    if (argc < 5 || !number(argv[1], &delay) || !number(argv[2], &rate)) {
        fprintf(stderr, "usage: bench_delay_switch DELAY RATE DEVICE NAMESPACE=ADDRESS...\n");
        return 2;
    }
    n.delay = (int64_t)(1e3 * delay);
    n.rate = 1e-9 * rate;
    for (int i = 4; i < argc; i++)
        if (!open_port(&n, argv[3], argv[i])) return 3;
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &(struct sigaction){.sa_handler = SIG_IGN}, NULL); // Ctrl-C is for who started it
    come_first();
    printf("ready\n");
    fflush(stdout);
    run(&n);
    printf("{\"packets\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"dropped\": %" PRIu64
           ", \"late_us_mean\": %.1f, \"late_us_most\": %.1f}\n",
           n.packets, n.bytes, n.dropped, n.packets ? n.late_sum / (double)n.packets : 0, n.late_most);
    while (n.held) free(heap_take(&n));
    free(n.heap);
    return 0;
}
