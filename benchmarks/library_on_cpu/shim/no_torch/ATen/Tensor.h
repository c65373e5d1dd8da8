#pragma once
// Named by functions that are declared and not used here.
namespace at { class Tensor; }
