// Gemm and MatMul on the CPU, by blocks of the shared matrix product. Integer MatMul wraps modulo 2^64 and is stored modulo the
// type's width.
#include "ops/broadcast.h"
#include "ops/elementwise/activation.h"
#include "ops/gemm/gemm.h"
#include "ops/gemm/product.h"

#include <cstring>

namespace fcm::ops {
namespace {

template <class T>
struct Operands {
  MatrixView<T> a;
  MatrixView<T> b;
  int64_t rows;
  int64_t columns;
  int64_t depth;
};

template <class T, class Store>
void multiply_one_block(const Operands<T>& m, int64_t block, const Store& store) {
  const int64_t across = block_count(m.columns, kBlockColumns);
  const Extent rows = block_extent(block / across, kBlockRows, m.rows);
  const Extent columns = block_extent(block % across, kBlockColumns, m.columns);
  const auto load = [&](int64_t k, T* line) {
    const T* source = m.b.data + k * m.b.row + columns.begin * m.b.column;
    for (int64_t i = 0; i < columns.count; ++i) line[i] = source[i * m.b.column];
  };
  multiply_block(m.a, rows, columns, m.depth, load, [&](int64_t row, T* values) { store(row, columns, values); });
}

template <class T>
int64_t blocks_of(const Operands<T>& m) {
  return block_count(m.rows, kBlockRows) * block_count(m.columns, kBlockColumns);
}

template <class T>
int64_t block_work(const Operands<T>& m) {
  return std::min(m.rows, kBlockRows) * std::min(m.columns, kBlockColumns) * m.depth;
}

template <class T>
void gemm_typed(const Gemm& op, Tensors inputs, Tensor& y) {
  const Tensor& a = *inputs[0];
  const Tensor& b = *inputs[1];
  const Tensor* c = tensor(inputs, 2);
  const Tensor* residual = tensor(inputs, 3);
  const int64_t depth = op.trans_a ? a.dims()[0] : a.dims().back();
  const int64_t a_width = a.dims().back();
  const Dims matrix = {element_count(Dims(y.dims().begin(), y.dims().end() - 1)), y.dims().back()};
  const int64_t b_width = b.dims()[1];
  const Operands<T> m = {{a.data<T>().data(), op.trans_a ? 1 : a_width, op.trans_a ? a_width : 1},
                         {b.data<T>().data(), op.trans_b ? 1 : b_width, op.trans_b ? b_width : 1},
                         matrix[0],
                         matrix[1],
                         depth};
  const Ints c_strides = c != nullptr ? broadcast_strides(c->dims(), matrix) : Ints{0, 0};
  const T* c_data = c != nullptr ? c->data<T>().data() : nullptr;
  const T* r_data = residual != nullptr ? residual->data<T>().data() : nullptr;
  T* out = y.data<T>().data();
  const Epilogue epilogue{op.activation, false};
  const auto store = [&](int64_t row, Extent columns, T* values) {
    for (int64_t i = 0; i < columns.count; ++i) {
      values[i] *= static_cast<T>(op.alpha);
      if (c_data != nullptr) values[i] += static_cast<T>(op.beta) * c_data[row * c_strides[0] + (columns.begin + i) * c_strides[1]];
    }
    const int64_t offset = row * m.columns + columns.begin;
    epilogue.apply(values, columns.count, T{0}, r_data != nullptr ? r_data + offset : nullptr);
    std::copy_n(values, columns.count, out + offset);
  };
  parallel_for(blocks_of(m), block_work(m), [&](int64_t block) { multiply_one_block(m, block, store); });
}

template <class T>
void matmul_typed(const Tensor& a, const Tensor& b, Tensor& y) {
  // Vectors count as matrices of one row or column.
  Dims x = a.dims();
  Dims z = b.dims();
  if (x.size() == 1) x.insert(x.begin(), 1);
  if (z.size() == 1) z.push_back(1);
  const Operands<T> shape = {{nullptr, x.back(), 1}, {nullptr, z.back(), 1}, x[x.size() - 2], z.back(), x.back()};
  const Dims a_batch(x.begin(), x.end() - 2);
  const Dims b_batch(z.begin(), z.end() - 2);
  const size_t rank = std::max(a_batch.size(), b_batch.size());
  const Dims batch(y.dims().begin(), y.dims().begin() + static_cast<std::ptrdiff_t>(rank));
  const Walk<2> walk(batch, {broadcast_strides(a_batch, batch), broadcast_strides(b_batch, batch)});
  const int64_t matrices = element_count(batch);
  const int64_t blocks = blocks_of(shape);
  const T* p = a.data<T>().data();
  const T* q = b.data<T>().data();
  T* out = y.data<T>().data();
  parallel_for(matrices * blocks, block_work(shape), [&](int64_t task) {
    const int64_t index = task / blocks;
    const auto start = walk.offsets(index / walk.inner());
    const int64_t within = index % walk.inner();
    Operands<T> m = shape;
    m.a.data = p + (start[0] + within * walk.inner_stride(0)) * shape.rows * shape.depth;
    m.b.data = q + (start[1] + within * walk.inner_stride(1)) * shape.depth * shape.columns;
    T* target = out + index * shape.rows * shape.columns;
    multiply_one_block(m, task % blocks, [&](int64_t row, Extent columns, const T* values) {
      std::copy_n(values, columns.count, target + row * shape.columns + columns.begin);
    });
  });
}

}  // namespace

void compute(const Gemm& op, Tensors inputs, std::span<Tensor> outputs) {
  if (inputs[0]->dtype() == DType::f64) return gemm_typed<double>(op, inputs, outputs[0]);
  gemm_typed<float>(op, inputs, outputs[0]);
}

void compute(const MatMul&, Tensors inputs, std::span<Tensor> outputs) {
  const Tensor& a = *inputs[0];
  const Tensor& b = *inputs[1];
  Tensor& y = outputs[0];
  if (a.dtype() == DType::f32) return matmul_typed<float>(a, b, y);
  if (a.dtype() == DType::f64) return matmul_typed<double>(a, b, y);
  Tensor wide(DType::u64, y.dims());
  matmul_typed<uint64_t>(a.cast(DType::u64), b.cast(DType::u64), wide);
  const Tensor result = wide.cast(y.dtype());
  if (y.bytes() > 0) std::memcpy(y.raw(), result.raw(), y.bytes());
}

}  // namespace fcm::ops
