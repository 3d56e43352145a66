//go:build unix

package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// nobody is the user that a server runs as where we are root, which PostgreSQL
// refuses to be. It is nil where we are not.
func nobody() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	var errs error
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("PostgreSQL does not run as root, and there is no other user to run it as: %w", errs)
}

// giveAway makes a folder that user's.
func giveAway(dir string) error {
	who, err := nobody()
	if err != nil || who == nil {
		return err
	}
	return os.Chown(dir, int(who.Uid), int(who.Gid))
}

// withoutRights makes a command run as that user, and end with its parent.
func withoutRights(cmd *exec.Cmd) {
	who, _ := nobody() // giveAway has told
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	endWithParent(cmd.SysProcAttr)
}

// signalQuit asks for what PostgreSQL calls an immediate shutdown.
func signalQuit(p *os.Process) error { return p.Signal(syscall.SIGQUIT) }

// freeze stops the server's processes, the one first that would start others.
func (p *process) freeze() (frozen []int, err error) {
	if err := syscall.Kill(p.os.Pid, syscall.SIGSTOP); err != nil {
		return nil, err
	}
	frozen = []int{p.os.Pid}
	children, err := childrenOf(p.os.Pid)
	for _, child := range children {
		if e := syscall.Kill(child, syscall.SIGSTOP); e != nil && !errors.Is(e, syscall.ESRCH) {
			err = errors.Join(err, e)
		}
		frozen = append(frozen, child)
	}
	return frozen, err
}

// childrenOf reads /proc.
func childrenOf(parent int) (children []int, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err == nil && len(stats) == 0 {
		err = errors.New("a server can be frozen only where there is /proc")
	}
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state parent: the name may hold anything.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				return nil, err
			}
			children = append(children, pid)
		}
	}
	return children, err
}

// proceed lets frozen processes run, those last that were stopped first.
func proceed(frozen []int) (err error) {
	for i := len(frozen) - 1; i >= 0; i-- {
		if e := syscall.Kill(frozen[i], syscall.SIGCONT); e != nil && !errors.Is(e, syscall.ESRCH) {
			err = errors.Join(err, e)
		}
	}
	return err
}
