package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

var errNotInstalled = fmt.Errorf("pgtest: no PostgreSQL server is installed: install one (on Debian: apt-get install postgresql), "+
	"or name one whose user may create databases in %s", databaseURL)

// Server is a PostgreSQL server that a test may mistreat.
type Server struct {
	tb       testing.TB // nil for the common one
	bin      string     // the folder of the binaries
	dir      string     // everything of this server
	port     int
	settings []string // that a test asked for
	flags    []string
	process  *process // nil while it is stopped
	frozen   []int    // the processes that do not run
}

// Start starts a server for one test. Settings are those of postgresql.conf, as
// "fsync=on"; without them nothing is ever synced to the disk. It ends with the test.
func Start(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	s, err := start(settings)
	giveUp(tb, err)
	s.tb = tb
	tb.Cleanup(func() {
		if err := s.end(); err != nil {
			tb.Error("pgtest: ", err)
		}
	})
	return s
}

func start(settings []string) (*Server, error) {
	return begin(settings, func(s *Server) []string {
		return []string{"initdb", "--no-sync", "--auth=trust", "--username=chatmux", "--encoding=UTF8", "--locale=C", "--pgdata=" + s.data()}
	})
}

// Standby starts a second server, which gets all that this one commits soon after. It
// ends with the test.
func (s *Server) Standby() *Server {
	s.tb.Helper()
	standby, err := begin(s.settings, func(standby *Server) []string {
		return []string{
			"pg_basebackup", "--no-sync", "--checkpoint=fast", "--write-recovery-conf", "--dbname=" + s.dsn("postgres"), "--pgdata=" + standby.data(),
		}
	})
	if err != nil {
		s.tb.Fatal("pgtest: ", err)
	}
	standby.tb = s.tb
	s.tb.Cleanup(func() {
		if err := standby.end(); err != nil {
			s.tb.Error("pgtest: ", err)
		}
	})
	return standby
}

// Promote makes a standby a server that takes writes, with what it has.
func (s *Server) Promote() {
	s.tb.Helper()
	if err := do(s.dsn("postgres"), "SELECT pg_promote()"); err != nil {
		s.tb.Fatal("pgtest: ", err)
	}
}

// begin starts a server on a folder that a program of PostgreSQL's fills.
func begin(settings []string, fill func(*Server) []string) (_ *Server, err error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, settings: settings}
	if s.dir, err = os.MkdirTemp("", "pgtest-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.end())
		}
	}()
	if err := giveAway(s.dir); err != nil {
		return nil, err
	}
	line := fill(s)
	filler := exec.CommandContext(context.Background(), filepath.Join(bin, line[0]), line[1:]...)
	filler.Dir = s.dir
	withoutRights(filler)
	if said, err := filler.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", line[0], err, said)
	}
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	for _, setting := range append([]string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(s.port), "unix_socket_directories=", "max_connections=200", "shared_buffers=32MB",
		"fsync=off", "full_page_writes=off", "restart_after_crash=on",
	}, settings...) {
		s.flags = append(s.flags, "-c", setting)
	}
	return s, s.run()
}

// binaries finds the server's programs: of the newest version where there are several.
func binaries() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil { // not all of them may be linked
			return filepath.Dir(path), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return "", errNotInstalled
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

// version is the folder's in /usr/lib/postgresql/15/bin/postgres.
func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // a name that is no number is the oldest
	return n
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) dsn(database string) string {
	return fmt.Sprintf("postgres://chatmux:pgtest-password@%s/%s?sslmode=disable", s.Addr(), database)
}

// Addr is where the server listens: host and port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Database makes an empty database on this server and returns its address.
func (s *Server) Database() string {
	s.tb.Helper()
	return database(s.tb, s.dsn("postgres"), "template0")
}

// Stop ends the server at once, as a crash would: nothing is written, no connection
// is said goodbye to.
func (s *Server) Stop() {
	s.tb.Helper()
	if err := s.stop(); err != nil {
		s.tb.Fatal("pgtest: ", err)
	}
}

// Start starts the server again after Stop, at its old address with its old data, and
// returns when it takes connections.
func (s *Server) Start() {
	s.tb.Helper()
	if err := s.run(); err != nil {
		s.tb.Fatal("pgtest: ", err)
	}
}

// Freeze makes all processes of the server stand still: connections stay, and nobody
// answers.
func (s *Server) Freeze() {
	s.tb.Helper()
	pids, err := s.process.freeze()
	s.frozen = pids
	if err != nil {
		s.tb.Fatal("pgtest: ", err)
	}
}

// Continue ends what Freeze began.
func (s *Server) Continue() {
	s.tb.Helper()
	if err := s.thaw(); err != nil {
		s.tb.Fatal("pgtest: ", err)
	}
}

func (s *Server) thaw() error {
	pids := s.frozen
	s.frozen = nil
	return proceed(pids)
}

// run starts the server's process and waits until it serves.
func (s *Server) run() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(context.Background(), filepath.Join(s.bin, "postgres"), append([]string{"-D", s.data()}, s.flags...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	withoutRights(cmd)
	if s.process, err = launch(cmd); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.dsn("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.process.ended:
			said, _ := os.ReadFile(log.Name()) // the more the better
			return fmt.Errorf("the server has ended: %w\n%s", s.process.err, lastLines(said))
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", err)
		case <-time.After(10 * time.Millisecond): // between two looks
		}
	}
}

func lastLines(text []byte) []byte {
	const most = 4000
	if len(text) > most {
		text = text[len(text)-most:]
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	return text
}

func (s *Server) stop() error {
	if s.process == nil {
		return nil
	}
	err := s.thaw()
	p := s.process
	s.process = nil
	return errors.Join(err, p.quit())
}

func (s *Server) end() error { return errors.Join(s.stop(), os.RemoveAll(s.dir)) }

// process is a running server.
type process struct {
	os    *os.Process
	ended chan struct{}
	err   error // valid once ended
}

// launch starts a process from a thread that stays as long as the process does: on
// Linux the process ends with that thread, so also when this test binary is killed.
func launch(cmd *exec.Cmd) (*process, error) {
	p := &process{ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.os = cmd.Process
		started <- nil
		p.err = cmd.Wait()
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// quit ends the server at once and waits for its end.
func (p *process) quit() error {
	if err := signalQuit(p.os); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(startTimeout):
	}
	err := p.os.Kill()
	<-p.ended
	return errors.Join(errors.New("the server did not end and was killed"), err)
}
