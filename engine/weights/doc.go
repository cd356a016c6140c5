// Package weights turns model files into tensors: folders in the Hugging Face
// layout (config.json with one or more safetensors files), their configuration,
// and conversions between storage types. Everything it reads is untrusted: sizes
// are checked against the bytes that are there before anything is allocated.
package weights
