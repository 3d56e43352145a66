package pgtest

import "syscall"

// endWithParent has the server end at once when the thread that started it is gone.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }
