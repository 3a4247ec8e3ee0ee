/* Runs a forward pass on a CPU: the network of `backends/network.py` with weights of 4 to 8 bits.

   The inputs are the embedded rows of one or more sequences, their rotary angles, and for each sequence a mask among
   its new rows, all of which see every earlier key of the sequence. The callers know the tokens and the attention rule.

   A weight is either a byte level of 5 to 8 bits, of which 2^(bits - 1) stands for zero, with an fp32 scale for each
   row and 64 columns, or a 4-bit level with an fp16 scale and offset for each row and 32 columns. Activations are
   rounded to 8 bits in groups of 16, each row separately, so that the result of a row does not depend on the other rows
   of the pass. The products of a group are summed in 32-bit integers; all other arithmetic is fp32. Levels below 128
   suit every instruction set: VNNI and AVX2 multiply unsigned by signed bytes, AVX2 saturates at 2^15, and Arm
   multiplies signed by signed bytes. Without VNNI, a level of 8 bits is multiplied in two parts, and AVX2 adds the
   products of small levels in 16 bits as long as they fit.

   The source is compiled once for each instruction set; the names of the entry points end with its name, SET. Vectors
   of 16 lanes use the compiler's extensions (GCC and Clang), so only the dot product of bytes is written for each
   set. */

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
__declspec(dllimport) int __stdcall SwitchToThread(void);
#define yield_core() SwitchToThread()
#else
#include <sched.h>
#define EXPORT __attribute__((visibility("default")))
#define yield_core() sched_yield()
#endif

#define JOIN(a, b) a##_##b
#define SUFFIXED(a, b) JOIN(a, b)
#define NAME(entry) SUFFIXED(entry, SET)
#define INLINE static inline __attribute__((always_inline))

#define LANES 16
#define GROUP 64  /* columns of byte levels that share a scale */
#define HALF 32   /* columns of 4-bit levels that share a scale */
#define PART 16   /* columns of activations that share a scale */
#define PARTS (HALF / PART)
#define WIDEST 128 /* columns of the widest attention head; heads have 64 or 128 */
#define SPAN 32   /* outputs that one thread claims at once */
#define SLICE 256 /* tokens of the vocabulary that one thread claims at once */
#define THREADS 15 /* the most threads */

typedef _Float16 half;
typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));
typedef int8_t vb __attribute__((vector_size(16)));
typedef half vh_any __attribute__((vector_size(32), aligned(2)));
typedef float vf_any __attribute__((vector_size(64), aligned(4)));
typedef int32_t vi_any __attribute__((vector_size(64), aligned(1)));
typedef int8_t vb_any __attribute__((vector_size(16), aligned(1)));

/* Tile sizes with which the sums stay in registers: ROWS of a matrix product, QUERIES for attention scores, and MIXED
   queries by COLUMNS vectors for the weighted sums of values. */
#if defined(__AVX512F__)
enum { ROWS = 6, QUERIES = 12, MIXED = 6, COLUMNS = 4 };
#else
enum { ROWS = 3, QUERIES = 6, MIXED = 3, COLUMNS = 2 };
#endif

/* A matrix of weights. 5 to 8 bits: byte levels [outputs / 16][inputs / 64][16][16 outputs][4 inputs], and fp32 scales
   [outputs / 16][inputs / 64][16 outputs]. 4 bits: levels [outputs / 16][inputs / 64][8][16 outputs][4 inputs], where
   the low half of a byte belongs to a group of four inputs and the high half to the next group, and fp16 scales
   [outputs / 16][inputs / 32][scale, offset][16 outputs]: a weight is scale * level + offset. */
typedef struct {
    const uint8_t *levels;
    const void *scales;
    int32_t outputs, inputs, bits;
} Matrix;

typedef struct {
    Matrix qkv, out, gate_up, down;
    const float *attention_norm, *feed_norm;
    const float *bias;          /* the bias of qkv, or null */
    const float *q_norm, *k_norm; /* [head] of each query and key head, or null */
} Layer;

typedef struct {
    int32_t layers, width, heads, kv_heads, head, hidden;
    float epsilon;
    const Layer *layer;
    const float *norm;
    Matrix vocabulary;
    const float *allowed; /* [vocabulary]: 0, or -inf for forbidden tokens */
} Network;

/* The rows of a pass that belong to one sequence, and the keys and values of that sequence by layer. */
typedef struct {
    int32_t first, rows, past, capacity;
    const uint8_t *mask; /* [rows][rows]: whether a new row sees another new row */
    half *const *keys;   /* [kv_heads][capacity / 16][head][16 keys] of each layer */
    half *const *values; /* [kv_heads][capacity][head] of each layer */
} Sequence;

/* A stage of a pass. Its shares are divided among the threads, so that each thread reads weights in order. A thread
   that has finished its own shares helps the others. */
typedef struct {
    _Alignas(64) atomic_int done;
    atomic_int next[THREADS]; /* how many of each thread's own shares are claimed */
} Stage;

typedef struct {
    const Network *network;
    int32_t threads, rows, sequences;
    const Sequence *sequence;
    const float *cosine, *sine; /* [rows][head / 2] */
    float *x;                   /* [rows][width]: the embedded rows, at the end the hidden rows */
    float *queries;             /* [rows][heads][head] */
    int8_t *mixed, *fed;        /* the rounded inputs of `out` and `down` */
    float *mixed_scale, *fed_scale, *mixed_total, *fed_total;
    char *scratch; /* `scratch_bytes` for each thread */
    size_t scratch_bytes;
    Stage *stages; /* five for each layer, all zero */
} Pass;

typedef struct {
    const Network *network;
    int32_t threads, rows;
    const float *hidden; /* [rows][width] */
    float *scores;       /* [rows][vocabulary] */
    float *peak, *mass;  /* [vocabulary / SLICE][rows] */
    char *scratch;
    size_t scratch_bytes;
    Stage *stages; /* two, all zero */
} Scores;

/* Rounded activations: the levels [rows][inputs], a scale for each PART of a row, and for each HALF of a row the sum of
   its values, which corrects the products for the zero level or the offset of the weights. */
typedef struct {
    const int8_t *levels;
    const float *scale, *total;
} Rounded;

INLINE vf load(const float *from) { return *(const vf_any *)from; }
INLINE void store(float *to, vf v) { *(vf_any *)to = v; }
INLINE vf load_half(const half *from) { return __builtin_convertvector(*(const vh_any *)from, vf); }
INLINE vi load_bytes(const void *from) { return *(const vi_any *)from; }
INLINE vf splat(float v) { return (vf){v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v}; }
INLINE vi splat_int(int32_t v) { return (vi){} + v; }
INLINE vf as_float(vi v) { return __builtin_convertvector(v, vf); }
INLINE vf larger(vf a, vf b) { vi m = a > b; return (vf)(((vi)a & m) | ((vi)b & ~m)); }
INLINE vf absolute(vf v) { return (vf)((vi)v & 0x7fffffff); }

/* Swap the lanes whose numbers differ only in the bit n. */
#define ACROSS(v, n)                                                                                                   \
    __builtin_shufflevector(v, v, 0 ^ n, 1 ^ n, 2 ^ n, 3 ^ n, 4 ^ n, 5 ^ n, 6 ^ n, 7 ^ n, 8 ^ n, 9 ^ n, 10 ^ n,        \
                            11 ^ n, 12 ^ n, 13 ^ n, 14 ^ n, 15 ^ n)

INLINE float sum_of(vf v) {
    v += ACROSS(v, 8), v += ACROSS(v, 4), v += ACROSS(v, 2), v += ACROSS(v, 1);
    return v[0];
}

INLINE int32_t int_sum_of(vi v) {
    v += ACROSS(v, 8), v += ACROSS(v, 4), v += ACROSS(v, 2), v += ACROSS(v, 1);
    return v[0];
}

INLINE float largest_of(vf v) {
    v = larger(v, ACROSS(v, 8)), v = larger(v, ACROSS(v, 4));
    v = larger(v, ACROSS(v, 2)), v = larger(v, ACROSS(v, 1));
    return v[0];
}

#if defined(__AVX2__) && !defined(__AVX512VNNI__) && !defined(__AVXVNNI__)
#define PAIRS 1
#else
#define PAIRS 0
#endif

/* Add to each lane of acc the dot product of 4 weight levels, below 128, with 4 activation levels. */
INLINE vi dot_small(vi acc, vi weight, vi activation) {
#if defined(__AVX512VNNI__)
    return (vi)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)weight, (__m512i)activation);
#elif defined(__AVXVNNI__)
    union { vi v; __m256i h[2]; } a = {acc}, w = {weight}, x = {activation};
    for (int i = 0; i < 2; i++) a.h[i] = _mm256_dpbusd_avx_epi32(a.h[i], w.h[i], x.h[i]);
    return a.v;
#elif defined(__AVX2__)
    union { vi v; __m256i h[2]; } a = {acc}, w = {weight}, x = {activation};
    for (int i = 0; i < 2; i++) {
        __m256i pairs = _mm256_maddubs_epi16(w.h[i], x.h[i]);
        a.h[i] = _mm256_add_epi32(a.h[i], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    return a.v;
#elif defined(__ARM_FEATURE_DOTPROD)
    union { vi v; int32x4_t q[4]; } a = {acc};
    union { vi v; int8x16_t q[4]; } w = {weight}, x = {activation};
    for (int i = 0; i < 4; i++) a.q[i] = vdotq_s32(a.q[i], w.q[i], x.q[i]);
    return a.v;
#else
    for (int byte = 0; byte < 4; byte++) {
        int up = 24 - 8 * byte;
        acc += ((weight << up) >> 24) * ((activation << up) >> 24);
    }
    return acc;
#endif
}

/* The same for weight levels of `bits` bits. */
INLINE vi dot(const int bits, vi acc, vi weight, vi activation) {
#if !defined(__AVX512VNNI__) && !defined(__AVXVNNI__)
    if (bits == 8) {
        vi upper = dot_small(splat_int(0), (weight >> 1) & 0x7f7f7f7f, activation);
        return dot_small(acc, weight & 0x01010101, activation) + 2 * upper;
    }
#endif
    (void)bits;
    return dot_small(acc, weight, activation);
}

#if PAIRS
/* Return the sums of two products each, in 16 bits. `fitting` tells how many of these sums fit into 16 bits: each is at
   most twice a level times 127. */
INLINE vi pairs_of(vi weight, vi activation) {
    union { vi v; __m256i h[2]; } w = {weight}, x = {activation};
    for (int i = 0; i < 2; i++) w.h[i] = _mm256_maddubs_epi16(w.h[i], x.h[i]);
    return w.v;
}

INLINE vi add_pairs(vi one, vi other) {
    union { vi v; __m256i h[2]; } a = {one}, b = {other};
    for (int i = 0; i < 2; i++) a.h[i] = _mm256_add_epi16(a.h[i], b.h[i]);
    return a.v;
}

INLINE vi sum_pairs(vi acc, vi pairs) {
    union { vi v; __m256i h[2]; } a = {acc}, p = {pairs};
    for (int i = 0; i < 2; i++) a.h[i] = _mm256_add_epi32(a.h[i], _mm256_madd_epi16(p.h[i], _mm256_set1_epi16(1)));
    return a.v;
}

INLINE int fitting(const int bits) { return bits <= 5 ? 4 : bits == 6 ? 2 : 1; }
#endif

/* Add the dot product number i of a part to acc; with AVX2 the products are first summed in `pairs`. */
INLINE void add_dot(const int bits, const int i, vi *acc, vi *pairs, vi weight, vi activation) {
#if PAIRS
    if (bits <= 6) {
        vi own = pairs_of(weight, activation);
        *pairs = i % fitting(bits) ? add_pairs(*pairs, own) : own;
        if (i % fitting(bits) == fitting(bits) - 1) *acc = sum_pairs(*acc, *pairs);
        return;
    }
#endif
    (void)i, (void)pairs;
    *acc = dot(bits, *acc, weight, activation);
}

/* Return e^x for x <= 0, by range reduction and a polynomial; 0 below -80. The relative error is below 3e-7. */
INLINE vf exponential(vf x) {
    /* Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits. */
    const float magic = 12582912.0f;
    vi keep = x > -80.0f;
    vf t = x * 1.44269504f + magic, n = t - magic;
    /* ln 2 is subtracted in two parts, for precision. */
    vf f = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vf y = f * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * f + 8.3334519073e-3f;
    y = y * f + 4.1665795894e-2f;
    y = y * f + 1.6666665459e-1f;
    y = y * f + 5.0000001201e-1f;
    y = y * f * f + f + 1.0f;
    return (vf)(((vu)y + ((vu)t << 23)) & (vu)keep); /* unsigned: lanes below -80 overflow */
}

/* Round HALF values to levels of 8 bits. */
INLINE void round_half(const float *from, int8_t *levels, float *scale, float *total) {
    const float magic = 12582912.0f;
    *total = 0;
    for (int part = 0; part < PARTS; part++, from += PART, levels += PART) {
        vf peaks = absolute(load(from));
        for (int i = LANES; i < PART; i += LANES) peaks = larger(peaks, absolute(load(from + i)));
        float peak = largest_of(peaks), up = peak > 0 ? 127.0f / peak : 0;
        vi sum = splat_int(0);
        for (int i = 0; i < PART; i += LANES) {
            vi rounded = (vi)(load(from + i) * up + magic) - 0x4b400000;
            *(vb_any *)(levels + i) = __builtin_convertvector(rounded, vb);
            sum += rounded;
        }
        scale[part] = peak / 127.0f;
        *total += scale[part] * int_sum_of(sum);
    }
}

INLINE void round_row(const float *from, int width, int8_t *levels, float *scale, float *total) {
    for (int i = 0; i < width / HALF; i++) round_half(from + i * HALF, levels + i * HALF, scale + i * PARTS, total + i);
}

/* The inputs of a tile: the weights of two blocks of 16 outputs, and rows of activations. */
typedef struct {
    const uint8_t *weights[2];
    const void *scales[2];
    const float *scale, *total;
    const int8_t *levels;
    int inputs, groups;
    float zero;      /* the level that stands for zero, for weights without offsets */
    size_t distance; /* bytes to the weights of the next tile, or 0 */
} Factors;

/* Return the bytes of the levels and of the scales of a group of 16 outputs. */
INLINE size_t level_bytes(int bits) { return bits == 4 ? GROUP * LANES / 2 : GROUP * LANES; }
INLINE size_t scale_bytes(int bits) { return bits == 4 ? 4 * LANES * sizeof(half) : LANES * sizeof(float); }

INLINE Factors factors(const Matrix *m, const int block[2], int ahead, const Rounded *a, int row) {
    Factors f = {.inputs = m->inputs, .groups = m->inputs / GROUP, .zero = (float)(1 << (m->bits - 1))};
    for (int c = 0; c < 2; c++) {
        f.weights[c] = m->levels + (size_t)block[c] * f.groups * level_bytes(m->bits);
        f.scales[c] = (const char *)m->scales + (size_t)block[c] * f.groups * scale_bytes(m->bits);
    }
    f.levels = a->levels + (size_t)row * f.inputs;
    f.scale = a->scale + (size_t)row * (f.inputs / PART);
    f.total = a->total + (size_t)row * (f.inputs / HALF);
    /* Only the first rows prefetch: for the other rows the weights are in the cache. */
    f.distance = row == 0 ? (size_t)ahead * f.groups * level_bytes(m->bits) : 0;
    return f;
}

/* Prefetch the weights of a group that are `distance` bytes ahead, so that loading overlaps with computing. */
INLINE void fetch(const int bits, const uint8_t *levels, size_t distance) {
    for (size_t line = 0; line < level_bytes(bits); line += 64) __builtin_prefetch(levels + distance + line, 0, 2);
}

/* Return the levels number k of a group: for each of 16 outputs, the weights of four inputs. */
INLINE vi weights_at(const int bits, const uint8_t *levels, int k) {
    if (bits != 4) return load_bytes(levels + k * 4 * LANES);
    vi two = load_bytes(levels + k / 2 * 4 * LANES);
    return (k % 2 ? two >> 4 : two) & 0x0f0f0f0f;
}

/* Multiply `rows` <= ROWS rows by two blocks. The sums stay in memory: the registers hold the integers of one part and
   the floats of one group. */
INLINE void tile(const int rows, const int bits, const Factors *f, vf sum[ROWS][2]) {
    for (int r = 0; r < rows; r++) sum[r][0] = sum[r][1] = splat(0);
    for (int g = 0; g < f->groups; g++) {
        const uint8_t *w[2] = {f->weights[0] + g * level_bytes(bits), f->weights[1] + g * level_bytes(bits)};
        vf group[ROWS][2];
        if (f->distance) fetch(bits, w[0], f->distance), fetch(bits, w[1], f->distance);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
#pragma GCC unroll 2
            for (int part = 0; part < PARTS; part++) {
                vi acc[ROWS][2], pairs[ROWS][2];
                for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = splat_int(0);
#pragma GCC unroll 8
                for (int i = 0; i < PART / 4; i++) {
                    int k = (h * HALF + part * PART) / 4 + i;
                    vi w0 = weights_at(bits, w[0], k), w1 = weights_at(bits, w[1], k);
                    for (int r = 0; r < rows; r++) {
                        int32_t four;
                        memcpy(&four, f->levels + (size_t)r * f->inputs + g * GROUP + 4 * k, 4);
                        vi x = splat_int(four);
                        add_dot(bits, i, &acc[r][0], &pairs[r][0], w0, x);
                        add_dot(bits, i, &acc[r][1], &pairs[r][1], w1, x);
                    }
                }
                for (int r = 0; r < rows; r++) {
                    vf scale = splat(f->scale[r * (f->inputs / PART) + (g * 2 + h) * PARTS + part]);
                    for (int c = 0; c < 2; c++) {
                        vf own = as_float(acc[r][c]) * scale;
                        group[r][c] = part || (h && bits != 4) ? group[r][c] + own : own;
                    }
                }
            }
            if (bits == 4)
                for (int c = 0; c < 2; c++) {
                    const half *own = (const half *)f->scales[c] + (g * 2 + h) * 2 * LANES;
                    vf scale = load_half(own), offset = load_half(own + LANES);
                    for (int r = 0; r < rows; r++)
                        sum[r][c] += group[r][c] * scale + splat(f->total[r * (f->inputs / HALF) + g * 2 + h]) * offset;
                }
        }
        if (bits != 4)
            for (int r = 0; r < rows; r++) {
                const float *total = f->total + r * (f->inputs / HALF) + g * 2;
                vf excess = splat((total[0] + total[1]) * f->zero);
                for (int c = 0; c < 2; c++)
                    sum[r][c] += (group[r][c] - excess) * load((const float *)f->scales[c] + g * LANES);
            }
    }
}

#define TILE(rows)                                                                                                     \
    case rows:                                                                                                         \
        if (m->bits == 4)                                                                                              \
            tile(rows, 4, &f, sum);                                                                                    \
        else if (PAIRS && m->bits == 5)                                                                                \
            tile(rows, 5, &f, sum);                                                                                    \
        else if (PAIRS && m->bits == 6)                                                                                \
            tile(rows, 6, &f, sum);                                                                                    \
        else if (m->bits == 8)                                                                                         \
            tile(rows, 8, &f, sum);                                                                                    \
        else                                                                                                           \
            tile(rows, 7, &f, sum);                                                                                    \
        return;

static void multiply(int rows, const Matrix *m, const int block[2], int ahead, const Rounded *a, int row,
                     vf sum[ROWS][2]) {
    Factors f = factors(m, block, ahead, a, row);
    switch (rows) {
        TILE(1)
        TILE(2)
        TILE(3)
#if defined(__AVX512F__)
        TILE(4)
        TILE(5)
        TILE(6)
#endif
    }
}

/* Return the rows of the next tile. Tiles are as even as possible, because a tile of one row reads as many weights as a
   tile of six. */
INLINE int tile_rows(int left) {
    int tiles = (left + ROWS - 1) / ROWS;
    return (left + tiles - 1) / tiles;
}

/* Claim the next share of a stage for a thread, its own shares first; -1 if all are claimed. */
INLINE int claim(Stage *stage, int shares, int thread, int threads) {
    for (int i = 0; i < threads; i++) {
        int owner = (thread + i) % threads, first = shares * owner / threads, end = shares * (owner + 1) / threads;
        if (atomic_load_explicit(&stage->next[owner], memory_order_relaxed) < end - first) {
            int share = first + atomic_fetch_add_explicit(&stage->next[owner], 1, memory_order_relaxed);
            if (share < end) return share;
        }
    }
    return -1;
}

INLINE void finish(Stage *stage) { atomic_fetch_add_explicit(&stage->done, 1, memory_order_release); }

INLINE int unfinished(Stage *stage, int shares) {
    return atomic_load_explicit(&stage->done, memory_order_acquire) < shares;
}

/* Wait until all shares of a stage are finished. A thread that starts late finds no shares left. */
static void await(Stage *stage, int shares) {
    for (int spins = 0; unfinished(stage, shares); spins++) {
#if defined(__x86_64__)
        _mm_pause();
#endif
        if (spins > 4000) yield_core();
    }
}

/* The scratch memory of a thread: rounded rows, a row of floats, the outputs of a head or a span, attention scores. */
typedef struct {
    int8_t *levels;
    float *scale, *total, *row, *span, *scores;
} Scratch;

static Scratch scratch_of(char *base, int rows, int width) {
    Scratch s;
    s.row = (float *)base;
    s.span = s.row + width;
    s.scale = s.span + (size_t)rows * WIDEST;
    s.total = s.scale + (size_t)rows * width / PART;
    s.levels = (int8_t *)(s.total + (size_t)rows * width / HALF);
    s.scores = (float *)(s.levels + (((size_t)rows * width + 63) & ~(size_t)63));
    return s;
}

/* Apply the RMS norm to a vector; `to` may be `from`. */
INLINE void norm_row(int width, float epsilon, const float *from, const float *weight, float *to) {
    vf squares = splat(0);
    for (int i = 0; i < width; i += LANES) squares += load(from + i) * load(from + i);
    float root = 1.0f / __builtin_sqrtf(sum_of(squares) / width + epsilon);
    for (int i = 0; i < width; i += LANES) store(to + i, load(from + i) * root * load(weight + i));
}

/* Round a row into a thread's scratch. */
INLINE void keep_rounded(const Scratch *s, int row, int width, const float *from) {
    round_row(from, width, s->levels + (size_t)row * width, s->scale + (size_t)row * width / PART,
              s->total + (size_t)row * width / HALF);
}

/* Normalize and round all rows. Every thread does all of this, which costs less than waiting for each other. */
static Rounded norm(const Network *net, const float *x, int rows, const float *weight, const Scratch *s) {
    for (int r = 0; r < rows; r++) {
        norm_row(net->width, net->epsilon, x + (size_t)r * net->width, weight, s->row);
        keep_rounded(s, r, net->width, s->row);
    }
    return (Rounded){s->levels, s->scale, s->total};
}

/* Compute one head's outputs of the joint projection, rotate queries and keys by their positions, and store all. */
static void project(const Pass *p, int l, const Rounded *a, int number, float *span) {
    const Network *net = p->network;
    const Layer *layer = net->layer + l;
    const int head = net->head;
    for (int column = 0; column < head; column += 2 * LANES) {
        int block = (number * head + column) / LANES, blocks[2] = {block, block + 1};
        for (int r = 0, n; r < p->rows; r += n) {
            vf sum[ROWS][2];
            multiply(n = tile_rows(p->rows - r), &layer->qkv, blocks, 2, a, r, sum);
            for (int c = 0; c < 2; c++) {
                vf bias = layer->bias ? load(layer->bias + (block + c) * LANES) : splat(0);
                for (int i = 0; i < n; i++) store(span + (r + i) * head + column + c * LANES, sum[i][c] + bias);
            }
        }
    }
    int kv = number - net->heads, value = kv - net->kv_heads;
    if (value >= 0) {
        for (const Sequence *q = p->sequence; q < p->sequence + p->sequences; q++) {
            const float *from = span + q->first * head;
            half *to = q->values[l] + ((size_t)value * q->capacity + q->past) * head;
            for (int i = 0; i < q->rows * head; i++) to[i] = (half)from[i];
        }
        return;
    }
    const float *weight = kv < 0 ? layer->q_norm : layer->k_norm;
    float shrink = kv < 0 ? 1.0f / __builtin_sqrtf(head) : 1.0f;
    for (int r = 0; r < p->rows; r++) {
        float *y = span + r * head;
        const float *cosine = p->cosine + r * head / 2, *sine = p->sine + r * head / 2;
        if (weight) norm_row(head, net->epsilon, y, weight, y);
        for (int i = 0; i < head / 2; i += LANES) {
            vf left = load(y + i) * shrink, right = load(y + head / 2 + i) * shrink;
            store(y + i, left * load(cosine + i) - right * load(sine + i));
            store(y + head / 2 + i, right * load(cosine + i) + left * load(sine + i));
        }
        if (kv < 0) memcpy(p->queries + ((size_t)r * net->heads + number) * head, y, sizeof(float) * head);
    }
    if (kv < 0) return;
    for (const Sequence *q = p->sequence; q < p->sequence + p->sequences; q++)
        for (int r = 0; r < q->rows; r++) {
            const float *from = span + (q->first + r) * head;
            int at = q->past + r;
            half *to = q->keys[l] + ((size_t)kv * q->capacity + at / LANES * LANES) * head + at % LANES;
            for (int i = 0; i < head; i++) to[i * LANES] = (half)from[i];
        }
}

/* Compute the scores of `wide` <= QUERIES packed queries with all keys: [query][padded]. */
INLINE void compare(const int wide, const int head, const float q[WIDEST][QUERIES], const half *key, int padded,
                    float *scores) {
    for (int at = 0; at < padded; at += LANES, key += LANES * head) {
        vf acc[QUERIES];
        for (int i = 0; i < wide; i++) acc[i] = splat(0);
        for (int d = 0; d < head; d++) {
            vf k = load_half(key + d * LANES);
            for (int i = 0; i < wide; i++) acc[i] += k * q[d][i];
        }
        for (int i = 0; i < wide; i++) store(scores + (size_t)i * padded + at, acc[i]);
    }
}

/* Sum the values of all keys by the weights of `wide` <= MIXED queries. */
INLINE void mix(const int wide, const int head, const float *weights, int padded, const half *values, int keys,
                float out[MIXED][WIDEST]) {
    for (int column = 0; column < head; column += COLUMNS * LANES) {
        const half *value = values + column;
        vf acc[MIXED][COLUMNS];
        for (int j = 0; j < wide; j++)
            for (int c = 0; c < COLUMNS; c++) acc[j][c] = splat(0);
        for (int at = 0; at < keys; at++, value += head)
            for (int c = 0; c < COLUMNS; c++) {
                vf v = load_half(value + c * LANES);
                for (int j = 0; j < wide; j++) acc[j][c] += v * weights[(size_t)j * padded + at];
            }
        for (int j = 0; j < wide; j++)
            for (int c = 0; c < COLUMNS; c++) store(out[j] + column + c * LANES, acc[j][c]);
    }
}

/* Return the number of query vectors in a tile of attention. A few queries are split into smaller tiles, so that all
   threads have work. */
INLINE int tile_queries(int queries) { return queries > 2 * QUERIES ? QUERIES : QUERIES / 2; }

INLINE int attention_tiles(const Network *net, const Sequence *s) {
    int queries = s->rows * (net->heads / net->kv_heads), wide = tile_queries(queries);
    return (queries + wide - 1) / wide;
}

/* Compute softmax attention for a tile of a sequence's queries, numbered by row, then by head within the group. */
INLINE void attend(const int head, const Pass *p, const Sequence *s, int l, int kv, int number, float *scores) {
    const Network *net = p->network;
    const int group = net->heads / net->kv_heads, count = s->rows * group, keys = s->past + s->rows;
    const int padded = (keys + LANES - 1) / LANES * LANES, wide = tile_queries(count), first = number * wide;
    const int n = count - first < wide ? count - first : wide;
    float q[WIDEST][QUERIES] = {0};
    for (int i = 0; i < n; i++) {
        int row = s->first + (first + i) / group;
        const float *from = p->queries + ((size_t)row * net->heads + kv * group + (first + i) % group) * head;
        for (int d = 0; d < head; d++) q[d][i] = from[d];
    }
    const half *key = s->keys[l] + (size_t)kv * s->capacity * head;
    if (n <= 3)
        compare(3, head, q, key, padded, scores);
    else if (n <= QUERIES / 2)
        compare(QUERIES / 2, head, q, key, padded, scores);
    else
        compare(QUERIES, head, q, key, padded, scores);
    float mass[QUERIES];
    for (int i = 0; i < n; i++) {
        float *own = scores + (size_t)i * padded;
        const uint8_t *seen = s->mask + (size_t)((first + i) / group) * s->rows;
        for (int at = s->past; at < keys; at++)
            if (!seen[at - s->past]) own[at] = -1e30f;
        for (int at = keys; at < padded; at++) own[at] = -1e30f;
        vf peak = load(own), sum = splat(0);
        for (int at = LANES; at < padded; at += LANES) peak = larger(peak, load(own + at));
        float top = largest_of(peak);
        for (int at = 0; at < padded; at += LANES) {
            vf e = exponential(load(own + at) - top);
            sum += e;
            store(own + at, e);
        }
        mass[i] = sum_of(sum);
    }
    const half *values = s->values[l] + (size_t)kv * s->capacity * head;
    for (int i = 0; i < n; i += MIXED) {
        const int m = n - i < MIXED ? n - i : MIXED;
        float out[MIXED][WIDEST];
        if (m <= 3)
            mix(3, head, scores + (size_t)i * padded, padded, values, keys, out);
        else
            mix(MIXED, head, scores + (size_t)i * padded, padded, values, keys, out);
        for (int j = 0; j < m; j++) {
            int query = first + i + j, row = s->first + query / group;
            size_t at = ((size_t)row * net->heads + kv * group + query % group) * head;
            for (int d = 0; d < head; d += LANES) store(out[j] + d, load(out[j] + d) * (1.0f / mass[i + j]));
            round_row(out[j], head, p->mixed + at, p->mixed_scale + at / PART, p->mixed_total + at / HALF);
        }
    }
}

/* Compute a share of attention: one tile of one key head of one sequence. */
static void attend_share(const Pass *p, int l, int share, float *scores) {
    const Network *net = p->network;
    const Sequence *s = p->sequence;
    int tiles = attention_tiles(net, s);
    for (; share >= tiles * net->kv_heads; tiles = attention_tiles(net, ++s)) share -= tiles * net->kv_heads;
    if (net->head == 64)
        attend(64, p, s, l, share / tiles, share % tiles, scores);
    else
        attend(128, p, s, l, share / tiles, share % tiles, scores);
}

/* Add a span of a matrix's outputs to the rows of x. */
static void add(const Pass *p, const Matrix *m, const Rounded *a, int span) {
    int blocks[2] = {2 * span, 2 * span + 1}, width = p->network->width;
    for (int r = 0, n; r < p->rows; r += n) {
        vf sum[ROWS][2];
        multiply(n = tile_rows(p->rows - r), m, blocks, 2, a, r, sum);
        for (int i = 0; i < n; i++)
            for (int c = 0; c < 2; c++) {
                float *to = p->x + (size_t)(r + i) * width + span * SPAN + c * LANES;
                store(to, load(to) + sum[i][c]);
            }
    }
}

/* Compute and round a group of SwiGLU's hidden values. */
static void gate(const Pass *p, const Matrix *m, const Rounded *a, int at) {
    const int hidden = p->network->hidden;
    for (int r = 0, n; r < p->rows; r += n) {
        _Alignas(64) float y[ROWS][GROUP];
        n = tile_rows(p->rows - r);
        for (int quarter = 0; quarter < GROUP / LANES; quarter++) {
            int block = at * GROUP / LANES + quarter, blocks[2] = {block, block + hidden / LANES};
            vf sum[ROWS][2];
            multiply(n, m, blocks, 1, a, r, sum);
            for (int i = 0; i < n; i++) {
                /* The sigmoid, without overflow. */
                vf g = sum[i][0], e = exponential(-absolute(g));
                vi positive = g > 0.0f;
                vf top = (vf)(((vi)splat(1) & positive) | ((vi)e & ~positive));
                store(y[i] + quarter * LANES, g * top / (e + 1.0f) * sum[i][1]);
            }
        }
        for (int i = 0; i < n; i++) {
            size_t from = (size_t)(r + i) * hidden + at * GROUP;
            round_row(y[i], GROUP, p->fed + from, p->fed_scale + from / PART, p->fed_total + from / HALF);
        }
    }
}

/* Return the bytes of scratch memory that a thread needs for a number of rows and keys. */
EXPORT size_t NAME(mercury_scratch)(int32_t width, int32_t rows, int32_t keys) {
    size_t rounded = (size_t)rows * width, parts = rounded / PART + rounded / HALF;
    size_t floats = width + (size_t)rows * WIDEST + parts + (size_t)QUERIES * (keys + LANES);
    return (floats * 4 + rounded + 127) & ~(size_t)63;
}

/* Run a pass. Each thread calls this function with its own number, from 0 on; any thread except 0 may be missing. */
EXPORT void NAME(mercury_pass)(const Pass *p, int32_t thread) {
    const Network *net = p->network;
    const int heads = net->heads + 2 * net->kv_heads;
    int attention_shares = 0;
    for (int i = 0; i < p->sequences; i++) attention_shares += net->kv_heads * attention_tiles(net, p->sequence + i);
    Scratch s = scratch_of(p->scratch + p->scratch_bytes * thread, p->rows, net->width);
    Rounded mixed = {p->mixed, p->mixed_scale, p->mixed_total}, fed = {p->fed, p->fed_scale, p->fed_total}, normed;
    Stage *stage = p->stages;
    for (int l = 0; l < net->layers; l++) {
        const Layer *layer = net->layer + l;
        int shares = heads;
        if (unfinished(stage, shares)) normed = norm(net, p->x, p->rows, layer->attention_norm, &s);
        for (int i; (i = claim(stage, shares, thread, p->threads)) >= 0; finish(stage)) project(p, l, &normed, i, s.span);
        await(stage++, shares);
        shares = attention_shares;
        for (int i; (i = claim(stage, shares, thread, p->threads)) >= 0; finish(stage)) attend_share(p, l, i, s.scores);
        await(stage++, shares);
        shares = net->width / SPAN;
        for (int i; (i = claim(stage, shares, thread, p->threads)) >= 0; finish(stage)) add(p, &layer->out, &mixed, i);
        await(stage++, shares);
        shares = net->hidden / GROUP;
        if (unfinished(stage, shares)) normed = norm(net, p->x, p->rows, layer->feed_norm, &s);
        for (int i; (i = claim(stage, shares, thread, p->threads)) >= 0; finish(stage)) gate(p, &layer->gate_up, &normed, i);
        await(stage++, shares);
        shares = net->width / SPAN;
        for (int i; (i = claim(stage, shares, thread, p->threads)) >= 0; finish(stage)) add(p, &layer->down, &fed, i);
        await(stage++, shares);
    }
    if (thread == 0)
        for (int r = 0; r < p->rows; r++)
            norm_row(net->width, net->epsilon, p->x + (size_t)r * net->width, net->norm, p->x + (size_t)r * net->width);
}

/* Compute the log-probabilities of the tokens after hidden rows. Threads call it like `mercury_pass`. */
EXPORT void NAME(mercury_scores)(const Scores *p, int32_t thread) {
    const Network *net = p->network;
    const Matrix *m = &net->vocabulary;
    const int width = net->width, shares = m->outputs / SLICE;
    Scratch s = scratch_of(p->scratch + p->scratch_bytes * thread, p->rows, width);
    Rounded a = {s.levels, s.scale, s.total};
    Stage *stage = p->stages;
    if (unfinished(stage, shares))
        for (int r = 0; r < p->rows; r++)
            keep_rounded(&s, r, width, p->hidden + (size_t)r * width);
    for (int share; (share = claim(stage, shares, thread, p->threads)) >= 0; finish(stage)) {
        for (int column = share * SLICE; column < (share + 1) * SLICE; column += 2 * LANES) {
            int blocks[2] = {column / LANES, column / LANES + 1};
            for (int r = 0, n; r < p->rows; r += n) {
                vf sum[ROWS][2];
                multiply(n = tile_rows(p->rows - r), m, blocks, 2, &a, r, sum);
                for (int i = 0; i < n; i++)
                    for (int c = 0; c < 2; c++) {
                        int at = column + c * LANES;
                        store(p->scores + (size_t)(r + i) * m->outputs + at, sum[i][c] + load(net->allowed + at));
                    }
            }
        }
        for (int r = 0; r < p->rows; r++) {
            const float *y = p->scores + (size_t)r * m->outputs + share * SLICE;
            vf peak = load(y), mass = splat(0);
            for (int i = LANES; i < SLICE; i += LANES) peak = larger(peak, load(y + i));
            float top = largest_of(peak);
            if (top > -1e30f)
                for (int i = 0; i < SLICE; i += LANES) mass += exponential(load(y + i) - top);
            p->peak[share * p->rows + r] = top;
            p->mass[share * p->rows + r] = sum_of(mass);
        }
    }
    await(stage++, shares);
    for (int r; (r = claim(stage, p->rows, thread, p->threads)) >= 0; finish(stage)) {
        float top = p->peak[r], mass = 0;
        for (int i = 1; i < shares; i++) top = p->peak[i * p->rows + r] > top ? p->peak[i * p->rows + r] : top;
        for (int i = 0; i < shares; i++) mass += p->mass[i * p->rows + r] * __builtin_expf(p->peak[i * p->rows + r] - top);
        float total = top + __builtin_logf(mass);
        float *y = p->scores + (size_t)r * m->outputs;
        for (int i = 0; i < m->outputs; i += LANES) store(y + i, load(y + i) - total);
    }
    await(stage, p->rows);
}
