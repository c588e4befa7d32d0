#pragma once

#include "src/tensors/adapter.h"
#include "src/train/stage.h"

#include <string>
#include <vector>

namespace sparity::train {

/// Throws (exit code 5, starting with `source`) unless `name` can be an adapter's, a folder's and
/// part of a tensor's name: letters, digits, _ and -, at most 64.
void check_adapter_name(const std::string& name, const std::string& source);

/// Throws (exit code 5), naming adapter and tensor, unless the stage can train these adapters: no
/// two of one name; each on nothing but what the stage trains; in `dual-lora` exactly two, one on
/// the model alone, one on the indexer alone; none in `pretrain`, where weights are made; each as
/// `save_adapter` can write it.
void check_adapters(Stage stage, const std::vector<tensors::Adapter>& adapters);

}  // namespace sparity::train
