// Package clients runs other people's clients, unchanged, against a running chatmux.
// It is a module of its own: what these clients need is no business of ours.
package clients
