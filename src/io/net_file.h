/* Blocks of a network in safetensors files, tensor by tensor, row-major, by name. */
#ifndef STPN_IO_NET_FILE_H
#define STPN_IO_NET_FILE_H

#include "io/safetensors.h"
#include "net/net.h"

/* Format of the files that hold a net; raised where an older reader would read a newer file wrongly. */
#define NET_FILE_FORMAT "1"

/* Writes "stpn_format", "stpn" (the version) and "units" (their options) into the metadata. */
stpn_status net_file_mark(tensor_file *file, const stpn_net *net, stpn_error *error);
/* An error where the metadata name another format, or none although it is `required`: a file of parameters may come from
 * elsewhere. */
stpn_status net_file_check_format(const tensor_file *file, int required, stpn_error *error);

/* An error where the metadata tell of units with other options than the net's: the same parameters would compute something
 * else. They may tell of none, or as a run's "experiment" does. */
stpn_status net_file_check_units(const stpn_net *net, const tensor_file *file, stpn_error *error);

/* Adds every tensor of a block as PREFIX + its name. */
stpn_status net_block_to_file(const stpn_net *net, const void *block, const char *prefix, tensor_file *file,
                              stpn_error *error);
/* Fills a block; checks that each tensor is there with its shape and finite values of type F32 or F64. Nothing is
 * changed where one is wrong. */
stpn_status net_block_from_file(const stpn_net *net, void *block, const char *prefix, const tensor_file *file,
                                stpn_error *error);
/* An error where the file holds a tensor that is neither the net's nor begins with one of `others` (NULL-terminated). */
stpn_status net_file_check_names(const stpn_net *net, const tensor_file *file, const char *const *others,
                                 stpn_error *error);

/* What a checkpoint holds beside the parameters: prefixes of tensors that loading a net leaves aside. */
extern const char *const net_file_others[];

#endif
