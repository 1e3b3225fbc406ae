// Pool: shapes of MaxPool and AveragePool.
#include "ops/pool/pool.h"
#include "ops/window.h"

namespace fcm::ops {

void bind_op(Pool& op, Node&, Inputs inputs) {
  bind_window(op.window, spatial_dims(need(inputs, 0)));
  for (size_t i = 0; i < op.window.kernel.size(); ++i) {
    const int64_t most = dilated(op.window, i) - 1;
    if (op.window.pads_begin[i] > most || op.window.pads_end[i] > most)
      bad_input("attribute pads holds {} and {} for spatial axis {}; accepted are values below the kernel's extent {}",
                op.window.pads_begin[i], op.window.pads_end[i], i, most + 1);
  }
}

std::vector<Inferred> infer_op(const Pool& op, const Node&, Inputs inputs) {
  const Known& x = need(inputs, 0);
  const bool bytes = x.dtype == DType::i8 || x.dtype == DType::u8;
  if (op.fn == PoolFn::average || !bytes) need_float(x.dtype, "X");
  Shape y = {x.shape[0], x.shape[1]};
  for (const int64_t extent : window_output(op.window, spatial_dims(x), op.ceil_mode)) y.emplace_back(extent);
  return {{x.dtype, y, std::nullopt}};
}

}  // namespace fcm::ops
