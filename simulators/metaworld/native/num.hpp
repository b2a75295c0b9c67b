// Numbers with NumPy's promotion rules (NEP 50), so that a reward written in C++ has the very bits of the one written in Python.
//
// Stock's rewards mix Python floats, np.float64 from observations and np.float32 from actions; where a float32 meets a Python float the
// result is a float32, and that shows in the last bits of the reward. A Num carries its kind along and every operation joins the kinds.
#pragma once
#include <cmath>
#include <initializer_list>

namespace metaworld {

enum Kind { PYTHON, FLOAT32, FLOAT64 };  // ordered so that the kind of a result is the larger one

struct Num {
  double value;
  Kind kind;
  Num(double value = 0.0, Kind kind = PYTHON) : value(value), kind(kind) {}
};

inline Num f64(double value) { return Num(value, FLOAT64); }
inline Num f32(float value) { return Num(value, FLOAT32); }
inline Kind join(Num a, Num b) { return a.kind > b.kind ? a.kind : b.kind; }

#define METAWORLD_OPERATOR(op)                                                   \
  inline Num operator op(Num a, Num b) {                                         \
    const Kind kind = join(a, b);                                                \
    if (kind == FLOAT32) return f32(float(a.value) op float(b.value));           \
    return Num(a.value op b.value, kind);                                        \
  }
METAWORLD_OPERATOR(+)
METAWORLD_OPERATOR(-)
METAWORLD_OPERATOR(*)
METAWORLD_OPERATOR(/)
#undef METAWORLD_OPERATOR

#define METAWORLD_COMPARISON(op)                                                 \
  inline bool operator op(Num a, Num b) {                                        \
    return join(a, b) == FLOAT32 ? float(a.value) op float(b.value) : a.value op b.value; \
  }
METAWORLD_COMPARISON(<)
METAWORLD_COMPARISON(<=)
METAWORLD_COMPARISON(>)
METAWORLD_COMPARISON(>=)
METAWORLD_COMPARISON(==)
METAWORLD_COMPARISON(!=)
#undef METAWORLD_COMPARISON

inline Num operator-(Num a) { return Num(-a.value, a.kind); }
inline Num &operator+=(Num &a, Num b) { return a = a + b; }
inline Num &operator-=(Num &a, Num b) { return a = a - b; }
inline Num &operator*=(Num &a, Num b) { return a = a * b; }

// Python's min(a, b), max(a, b), abs(a), float(a); numpy's functions turn a Python float into a np.float64.
inline Num py_min(Num a, Num b) { return b < a ? b : a; }
inline Num py_max(Num a, Num b) { return b > a ? b : a; }
inline Num py_abs(Num a) { return Num(std::fabs(a.value), a.kind); }
inline Num py_float(Num a) { return Num(a.value, PYTHON); }
inline Num np_abs(Num a) { return Num(std::fabs(a.value), a.kind == PYTHON ? FLOAT64 : a.kind); }

// NumPy's own loops are called where a function's bits depend on the CPU: numpy picks another loop than libm's on some.
struct Math {
  using Loop = void (*)(char **, const long *, const long *, void *);
  struct Function {
    Loop loop;
    void *data;
  };
  Function exp, log, sin, cos;
  double long_tail_scale, gaussian_scale;  // of tolerance(): np.sqrt(1 / 0.1 - 1), np.sqrt(-2 * np.log(0.1))
  int fused_dot;                           // whether this CPU's BLAS multiplies and adds in one rounding
};
inline Math math;

inline double numpy_loop(const Math::Function &function, double x) {
  double y;
  char *arguments[2] = {reinterpret_cast<char *>(&x), reinterpret_cast<char *>(&y)};
  const long count = 1, strides[2] = {sizeof(double), sizeof(double)};
  function.loop(arguments, &count, strides, function.data);
  return y;
}
inline Num np_exp(Num x) { return f64(numpy_loop(math.exp, x.value)); }
inline Num np_log(Num x) { return f64(numpy_loop(math.log, x.value)); }
inline Num np_sin(Num x) { return f64(numpy_loop(math.sin, x.value)); }
inline Num np_cos(Num x) { return f64(numpy_loop(math.cos, x.value)); }

// x ** 2 of a Python float or a numpy scalar is libm's pow, which is not always x * x; the volatile keeps the compiler from knowing better.
inline volatile double two = 2.0;
inline Num squared(Num x) {
  if (x.kind == FLOAT32) return f32(std::pow(float(x.value), float(two)));
  return Num(std::pow(x.value, two), x.kind);
}

// np.linalg.norm of a float64 vector: the root of BLAS's dot product.
inline Num norm(std::initializer_list<Num> x) {
  double sum = 0.0;
  for (const Num &n : x) sum = math.fused_dot ? std::fma(n.value, n.value, sum) : sum + n.value * n.value;
  return f64(std::sqrt(sum));
}

struct Vec {  // a float64 array of three
  double x[3];
  Num operator[](int i) const { return f64(x[i]); }
};
inline Vec vec(Num a, Num b, Num c) { return {{a.value, b.value, c.value}}; }
inline Vec vec(const double *x) { return {{x[0], x[1], x[2]}}; }
inline Vec operator+(Vec a, Vec b) { return {{a.x[0] + b.x[0], a.x[1] + b.x[1], a.x[2] + b.x[2]}}; }
inline Vec operator-(Vec a, Vec b) { return {{a.x[0] - b.x[0], a.x[1] - b.x[1], a.x[2] - b.x[2]}}; }
inline Vec operator*(Vec a, Vec b) { return {{a.x[0] * b.x[0], a.x[1] * b.x[1], a.x[2] * b.x[2]}}; }
inline Vec operator*(Vec a, double s) { return {{a.x[0] * s, a.x[1] * s, a.x[2] * s}}; }
inline Vec operator/(Vec a, double s) { return {{a.x[0] / s, a.x[1] / s, a.x[2] / s}}; }
inline Num norm(Vec a) { return norm({a[0], a[1], a[2]}); }
inline Num norm_xy(Vec a) { return norm({a[0], a[1]}); }  // of a[:2]
inline Num norm_xz(Vec a) { return norm({a[0], a[2]}); }  // of a[[0, 2]]

}  // namespace metaworld
