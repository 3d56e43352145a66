//go:build unix && !linux

package pgtest

import "syscall"

// endWithParent does nothing: only Linux knows how. Main ends the server.
func endWithParent(*syscall.SysProcAttr) {}
