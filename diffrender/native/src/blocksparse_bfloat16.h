// Products of bfloat16 by the processor's own instruction, where it has one.
#pragma once

#include "blocksparse.h"

namespace diffrender {

// y = W x or W^T x as blocksparse_multiply.cpp has it, values and x taken as pairs. False, and
// nothing done, where the processor has no such instruction or sides of blocks or addresses are odd.
bool multiply_pairs(const Product& product, const void* values, const void* x, void* y);

// dw as blocksparse_outer.cpp has it, dy and x taken as pairs of columns. False as above, and where
// the number of columns is odd.
bool outer_pairs(const Product& product, const void* dy, const void* x, void* values);
// The same by rows, where columns lie side by side.
bool rows_pairs(const Product& product, const void* dy, const void* x, void* values);

}  // namespace diffrender
