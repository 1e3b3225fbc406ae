// The algebra of views, and tracing them through the graph.
#include "runtime/passes/view.h"

#include <algorithm>
#include <deque>
#include <numeric>

#include "ops/move/ranges.h"
#include "runtime/passes/match.h"

namespace fcm::passes {
namespace {

constexpr int64_t kMostPositions = int64_t{1} << 20;  // of a table

std::optional<Dim> divide(const Dim& a, const Dim& b) {
  if (b.factor == 0 || a.factor % b.factor != 0 || (b.batch && !a.batch)) return std::nullopt;
  return Dim(a.factor / b.factor, a.batch && !b.batch);
}

std::optional<Dim> times(const Dim& a, const Dim& b) {
  if (a.batch && b.batch) return std::nullopt;
  return Dim(a.factor * b.factor, a.batch || b.batch);
}

// Neighbours that walk evenly are one factor.
std::vector<Factor> merged(const std::vector<Factor>& factors) {
  std::vector<Factor> result;
  for (const Factor& f : factors) {
    if (f.extent == Dim(1)) continue;
    if (!result.empty() && result.back().table == f.table && times(f.extent, f.step) == result.back().step) {
      if (const std::optional<Dim> extent = times(result.back().extent, f.extent)) {
        result.back() = {*extent, f.step, f.table};
        continue;
      }
    }
    result.push_back(f);
  }
  return result;
}

// Takes factors that make up `need` from the front of `rest`, cutting the last where it must be.
std::optional<std::vector<Factor>> take_factors(std::deque<Factor>& rest, Dim need) {
  std::vector<Factor> axis;
  while (need != Dim(1)) {
    if (rest.empty()) return std::nullopt;
    const Factor f = rest.front();
    rest.pop_front();
    if (const std::optional<Dim> left = divide(need, f.extent)) {
      axis.push_back(f);
      need = *left;
      continue;
    }
    const std::optional<Dim> inner = divide(f.extent, need);
    const std::optional<Dim> step = inner ? times(*inner, f.step) : std::nullopt;
    if (!step) return std::nullopt;
    axis.push_back({need, *step, f.table});
    rest.push_front({*inner, f.step, f.table});
    need = Dim(1);
  }
  return merged(axis);
}

}  // namespace

View View::of(ValueId v, const Shape& shape) {
  View view;
  view.source = v;
  view.axes.resize(shape.size());
  Dim step(1);
  for (size_t axis = shape.size(); axis-- > 0;) {
    if (shape[axis] != Dim(1)) view.axes[axis] = {{shape[axis], step, -1}};
    step = Dim(step.factor * shape[axis].factor, step.batch || shape[axis].batch);
  }
  return view;
}

bool View::reshape(const Shape& target) {
  std::deque<Factor> rest;
  for (const auto& axis : axes) rest.insert(rest.end(), axis.begin(), axis.end());
  std::vector<std::vector<Factor>> result;
  for (const Dim& dim : target) {
    std::optional<std::vector<Factor>> axis = take_factors(rest, dim);
    if (!axis) return false;
    result.push_back(std::move(*axis));
  }
  if (!rest.empty()) return false;
  axes = std::move(result);
  for (size_t t = tables.size(); t-- > 0;) decouple(static_cast<int>(t));
  return true;
}

void View::decouple(int t) {
  const Ints table = tables[static_cast<size_t>(t)];
  const auto in_table = [t](const Factor& f) { return f.table == t; };
  std::vector<size_t> coupled;
  std::vector<Ints> positions;  // in the table, by coupled axis
  int64_t total = 1;
  for (size_t axis = 0; axis < axes.size(); ++axis) {
    const auto& factors = axes[axis];
    if (std::none_of(factors.begin(), factors.end(), in_table)) continue;
    if (!std::all_of(factors.begin(), factors.end(), in_table)) return;
    Ints at = {0};
    for (const Factor& f : factors) {
      Ints finer;
      for (const int64_t p : at) {
        for (int64_t i = 0; i < f.extent.factor; ++i) finer.push_back(p + i * f.step.factor);
      }
      at = std::move(finer);
    }
    total *= static_cast<int64_t>(at.size());
    coupled.push_back(axis);
    positions.push_back(std::move(at));
  }
  if (coupled.size() < 2 || total > kMostPositions) return;
  for (int64_t i = 0; i < total; ++i) {
    int64_t rest = i;
    int64_t at = 0;
    int64_t sum = table[0];
    for (const Ints& axis : positions) {
      const int64_t p = axis[static_cast<size_t>(rest % static_cast<int64_t>(axis.size()))];
      rest /= static_cast<int64_t>(axis.size());
      at += p;
      sum += table[static_cast<size_t>(p)] - table[0];
    }
    if (table[static_cast<size_t>(at)] != sum) return;
  }
  offset += table[0];
  for (size_t a = 0; a < coupled.size(); ++a) {
    Ints values;
    for (const int64_t p : positions[a]) values.push_back(table[static_cast<size_t>(p)] - table[0]);
    set_axis(coupled[a], std::move(values));
  }
}

void View::transpose(const Ints& perm) {
  std::vector<std::vector<Factor>> result;
  for (const int64_t axis : perm) result.push_back(std::move(axes[static_cast<size_t>(axis)]));
  axes = std::move(result);
}

void View::expand(const Shape& target) {
  axes.insert(axes.begin(), target.size() - axes.size(), {});
  for (size_t axis = 0; axis < target.size(); ++axis) {
    if (axes[axis].empty() && target[axis] != Dim(1)) axes[axis] = {{target[axis], Dim(0), -1}};
  }
}

bool View::slice(size_t axis, int64_t start, int64_t step, int64_t count) {
  const Dim whole = extent(axis);
  if (start == 0 && step == 1 && whole == Dim(count)) return true;
  if (axes[axis].size() == 1 && axes[axis][0].table < 0 && !whole.batch && !axes[axis][0].step.batch) {
    Factor& f = axes[axis][0];
    offset += start * f.step.factor;
    f = {Dim(count), Dim(f.step.factor * step), -1};
    if (count == 1) axes[axis].clear();
    return true;
  }
  if (whole.batch) return false;
  Ints indices(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) indices[static_cast<size_t>(i)] = start + i * step;
  return take(axis, indices);
}

bool View::take(size_t axis, const Ints& indices) {
  const std::optional<Ints> all = offsets(axis, axis + 1);
  if (!all) return false;
  Ints table;
  for (const int64_t i : indices) {
    if (i < 0 || i >= static_cast<int64_t>(all->size())) return false;
    table.push_back((*all)[static_cast<size_t>(i)]);
  }
  set_axis(axis, std::move(table));
  return true;
}

void View::set_axis(size_t axis, Ints positions) {
  const auto count = static_cast<int64_t>(positions.size());
  const int64_t step = count > 1 ? positions[1] - positions[0] : 0;
  bool even = true;
  for (size_t i = 1; i < positions.size(); ++i) even = even && positions[i] - positions[i - 1] == step;
  axes[axis].clear();
  if (even) {
    offset += positions[0];
    if (count > 1) axes[axis] = {{Dim(count), Dim(step), -1}};
    return;
  }
  axes[axis] = {{Dim(count), Dim(1), static_cast<int>(tables.size())}};
  tables.push_back(std::move(positions));
}

Dim View::extent(size_t axis) const {
  Dim total(1);
  for (const Factor& f : axes[axis]) total = Dim(total.factor * f.extent.factor, total.batch || f.extent.batch);
  return total;
}

std::optional<int64_t> View::stride(size_t axis) const {
  if (axes[axis].empty()) return 0;
  const Factor& f = axes[axis][0];
  if (axes[axis].size() > 1 || f.table >= 0 || f.step.batch) return std::nullopt;
  return f.step.factor;
}

std::optional<Ints> View::offsets(size_t first, size_t last) const {
  std::vector<Factor> factors;
  for (size_t axis = first; axis < last; ++axis) factors.insert(factors.end(), axes[axis].begin(), axes[axis].end());
  int64_t count = 1;
  for (const Factor& f : factors) {
    if (f.extent.batch || f.step.batch || f.extent.factor == 0 || count > kMostPositions / f.extent.factor) return std::nullopt;
    count *= f.extent.factor;
  }
  for (size_t axis = 0; axis < axes.size(); ++axis) {
    if (axis >= first && axis < last) continue;
    for (const Factor& outside : axes[axis]) {
      if (outside.table >= 0 && std::any_of(factors.begin(), factors.end(), [&](const Factor& f) { return f.table == outside.table; }))
        return std::nullopt;
    }
  }
  Ints result(static_cast<size_t>(count), 0);
  std::vector<Ints> positions(tables.size());
  for (const Factor& f : factors) {
    if (f.table >= 0) positions[static_cast<size_t>(f.table)].assign(static_cast<size_t>(count), 0);
  }
  int64_t inner = count;
  for (const Factor& f : factors) {
    inner /= f.extent.factor;
    Ints& target = f.table < 0 ? result : positions[static_cast<size_t>(f.table)];
    for (int64_t i = 0; i < count; ++i) target[static_cast<size_t>(i)] += i / inner % f.extent.factor * f.step.factor;
  }
  for (size_t t = 0; t < tables.size(); ++t) {
    for (size_t i = 0; i < positions[t].size(); ++i) result[i] += tables[t][static_cast<size_t>(positions[t][i])];
  }
  return result;
}

bool View::put_channels_last(const Shape& source_shape) {
  if (source_shape.size() != 4 || source_shape[1].batch || source_shape[2].batch || source_shape[3].batch) return false;
  const int64_t channels = source_shape[1].factor;
  const int64_t pixels = source_shape[2].factor * source_shape[3].factor;
  const int64_t item = channels * pixels;
  const auto turned = [&](int64_t at) { return at / item * item + at % pixels * channels + at % item / pixels; };
  View result = *this;
  int64_t channel_room = channels - 1 - offset % item / pixels;
  int64_t pixel_room = pixels - 1 - offset % pixels;
  for (auto& axis : result.axes) {
    for (Factor& f : axis) {
      if (f.table >= 0 || f.step.batch || f.step.factor < 0) return false;
      if (f.step.factor % item == 0) continue;
      if (f.extent.batch) return false;
      const bool walks_channels = f.step.factor % pixels == 0;
      (walks_channels ? channel_room : pixel_room) -= (f.extent.factor - 1) * (walks_channels ? f.step.factor / pixels : f.step.factor);
      f.step = Dim(turned(f.step.factor));
    }
  }
  if (channel_room < 0 || pixel_room < 0) return false;
  result.offset = turned(offset);
  for (auto& axis : result.axes) axis = merged(axis);
  *this = std::move(result);
  return true;
}

bool is_whole(const View& view, const Shape& source_shape) {
  std::vector<Factor> factors;
  for (const auto& axis : view.axes) factors.insert(factors.end(), axis.begin(), axis.end());
  factors = merged(factors);
  const Dim count = element_count(source_shape);
  if (view.offset != 0 || factors.size() > 1) return false;
  if (factors.empty()) return count == Dim(1);
  return factors[0].table < 0 && factors[0].step == Dim(1) && factors[0].extent == count;
}

namespace {

size_t to_index(int64_t i) {
  return static_cast<size_t>(i);
}

// An axis with its table's contents in place of the table's number; for comparing views of one source.
bool same_axis(const View& a, const View& b, size_t axis) {
  const auto& x = a.axes[axis];
  const auto& y = b.axes[axis];
  return std::equal(x.begin(), x.end(), y.begin(), y.end(), [&](const Factor& f, const Factor& g) {
    if (f.extent != g.extent || f.step != g.step || (f.table < 0) != (g.table < 0)) return false;
    return f.table < 0 || a.tables[to_index(f.table)] == b.tables[to_index(g.table)];
  });
}

struct Tracer {
  const Rewriter& rewriter;
  const Graph& graph;
  const Node& node;
  size_t output = 0;
  Through through;

  const Shape& shape(ValueId v) const { return *graph.value(v).shape; }
  View input(size_t i = 0) const { return trace(rewriter, node.inputs[i], through); }

  std::optional<View> operator()(const UnaryOp& op) const {
    if (!through.relu || op.u.fn != UnaryFn::relu) return std::nullopt;
    View view = input();
    view.relu = true;
    return view;
  }
  std::optional<View> operator()(const Binary& op) const {
    if (!through.scale || !op.activation.is_identity() || (op.fn != BinaryFn::mul && op.fn != BinaryFn::div)) return std::nullopt;
    const size_t data = op.fn == BinaryFn::mul && graph.is_constant(node.inputs[0]) ? 1 : 0;
    const std::optional<double> factor = scalar_constant(graph, node.inputs[1 - data]);
    if (!factor || !(*factor > 0.0) || shape(node.inputs[data]) != shape(node.outputs[0])) return std::nullopt;
    View view = input(data);
    view.scale *= op.fn == BinaryFn::mul ? *factor : 1.0 / *factor;
    return view;
  }

  std::optional<View> operator()(const Identity&) const { return input(); }
  std::optional<View> operator()(const Reshape& op) const {
    View view = input();
    if (!op.target || !view.reshape(*op.target)) return std::nullopt;
    return view;
  }
  std::optional<View> operator()(const Transpose& op) const {
    View view = input();
    if (op.perm.size() != view.axes.size()) return std::nullopt;
    view.transpose(op.perm);
    return view;
  }
  std::optional<View> operator()(const Expand& op) const {
    View view = input();
    if (!op.target) return std::nullopt;
    view.expand(shape(node.outputs[0]));
    return view;
  }
  std::optional<View> operator()(const Slice& op) const {
    View view = input();
    if (!op.bound) return std::nullopt;
    for (size_t i = 0; i < op.axes.size(); ++i) {
      const size_t axis = to_index(op.axes[i] < 0 ? op.axes[i] + static_cast<int64_t>(view.axes.size()) : op.axes[i]);
      const Dim extent = shape(node.inputs[0])[axis];
      if (extent == shape(node.outputs[0])[axis] && op.steps[i] == 1) continue;
      if (extent.batch) return std::nullopt;
      const ops::AxisRange range = ops::slice_range(op.starts[i], op.ends[i], op.steps[i], extent.factor);
      if (range.count == 0 || !view.slice(axis, range.start, op.steps[i], range.count)) return std::nullopt;
    }
    return view;
  }
  std::optional<View> operator()(const Split& op) const {
    View view = input();
    const size_t axis = to_index(op.axis);
    int64_t start = 0;
    for (size_t i = 0; i <= output; ++i) {
      const Dim size = shape(node.outputs[i])[axis];
      if (size.batch) return std::nullopt;
      if (i == output) return view.slice(axis, start, 1, size.factor) ? std::optional(view) : std::nullopt;
      start += size.factor;
    }
    return std::nullopt;
  }
  std::optional<View> operator()(const Gather& op) const {
    View view = input();
    const Tensor& indices = *graph.value(node.inputs[1]).constant;
    const size_t axis = to_index(op.axis < 0 ? op.axis + static_cast<int64_t>(view.axes.size()) : op.axis);
    const Dim extent = shape(node.inputs[0])[axis];
    if (extent.batch || indices.rank() > 1) return std::nullopt;
    const Tensor wide = indices.cast(DType::i64);
    Ints list(std::as_const(wide).data<int64_t>().begin(), std::as_const(wide).data<int64_t>().end());
    for (int64_t& i : list) i = i < 0 ? i + extent.factor : i;
    const int64_t step = list.size() > 1 ? list[1] - list[0] : 1;
    bool even = !list.empty();
    for (size_t i = 1; i < list.size(); ++i) even = even && list[i] - list[i - 1] == step;
    if (list.empty() || !(even ? view.slice(axis, list[0], step, static_cast<int64_t>(list.size())) : view.take(axis, list)))
      return std::nullopt;
    if (indices.rank() == 0) view.axes.erase(view.axes.begin() + static_cast<std::ptrdiff_t>(axis));
    return view;
  }
  // Parts of one value that differ along the joined axis alone, with all else equal.
  std::optional<View> operator()(const Concat& op) const {
    const size_t axis = to_index(op.axis < 0 ? op.axis + static_cast<int64_t>(shape(node.outputs[0]).size()) : op.axis);
    std::optional<View> first;
    Ints table;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      View part = input(i);
      if (first && (part.source != first->source || part.scale != first->scale || part.relu != first->relu)) return std::nullopt;
      const std::optional<Ints> offsets = part.offsets(axis, axis + 1);
      if (!offsets) return std::nullopt;
      for (const int64_t o : *offsets) table.push_back(part.offset + o);
      if (!first) {
        first = std::move(part);
        continue;
      }
      for (size_t a = 0; a < part.axes.size(); ++a) {
        if (a != axis && !same_axis(*first, part, a)) return std::nullopt;
      }
    }
    if (!first || table.empty()) return std::nullopt;
    first->offset = 0;
    first->set_axis(axis, std::move(table));
    return first;
  }
  template <class T>
  std::optional<View> operator()(const T&) const {
    return std::nullopt;
  }
};

}  // namespace

bool is_move(const Graph& graph, const Node& node) {
  const Op& op = node.op;
  if (std::holds_alternative<Gather>(op)) return graph.is_constant(node.inputs[1]) && !graph.is_constant(node.inputs[0]);
  return std::holds_alternative<Identity>(op) || std::holds_alternative<Reshape>(op) || std::holds_alternative<Transpose>(op) ||
         std::holds_alternative<Expand>(op) || std::holds_alternative<Slice>(op) || std::holds_alternative<Split>(op) ||
         std::holds_alternative<Concat>(op);
}

View trace(const Rewriter& rewriter, ValueId v, Through through) {
  const Graph& graph = rewriter.graph();
  const NodeId n = rewriter.producer(v);
  const Shape& shape = *graph.value(v).shape;
  if (n == kNoNode) return View::of(v, shape);
  const Node& node = rewriter.node(n);
  const bool scalar =
      (through.scale && std::holds_alternative<Binary>(node.op)) || (through.relu && std::holds_alternative<UnaryOp>(node.op));
  if (!scalar && !is_move(graph, node)) return View::of(v, shape);
  const auto known = [&](ValueId i) { return i != kNoValue && graph.value(i).shape.has_value(); };
  if (!std::all_of(node.inputs.begin(), node.inputs.end(), known)) return View::of(v, shape);
  const auto output = static_cast<size_t>(std::find(node.outputs.begin(), node.outputs.end(), v) - node.outputs.begin());
  const std::optional<View> view = std::visit(Tracer{rewriter, graph, node, output, through}, node.op);
  return view ? *view : View::of(v, shape);
}

}  // namespace fcm::passes
