package pgtest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// hold makes this test binary start a server and wait to be killed.
const hold = "CHATMUX_TEST_HOLD_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(hold) != "" {
		s, err := start(nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(s.Addr(), s.dir)
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent kills us or is gone
		return
	}
	goleak.VerifyTestMain(Main{M: m})
}

// ask asks for one value.
func ask(dsn, question string) (answer string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	return answer, conn.QueryRow(ctx, question).Scan(&answer)
}

// answers asks until there is one.
func answers(t *testing.T, dsn, question, want string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		answer, err := ask(dsn, question)
		if answer == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %q, error %v; want %q", question, answer, err, want)
		}
	}
}

func TestStoppedServerKeepsWhatWasCommitted(t *testing.T) {
	s := Start(t)
	dsn := s.Database()
	if err := do(dsn, "CREATE TABLE kept AS SELECT 'all of it' AS text"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if _, err := ask(dsn, "SELECT 'x'"); err == nil {
		t.Error("a stopped server answers")
	}
	s.Start()
	answers(t, dsn, "SELECT text FROM kept", "all of it")
}

func TestFrozenServerDoesNotAnswerUntilItGoesOn(t *testing.T) {
	s := Start(t)
	dsn := s.Database()
	s.Freeze()
	if _, err := ask(dsn, "SELECT 'x'"); err == nil {
		t.Error("a frozen server answers")
	}
	s.Continue()
	answers(t, dsn, "SELECT 'x'", "x")
	s.Freeze() // and ends all the same
}

func TestAPromotedStandbyHasWhatItGot(t *testing.T) {
	s := Start(t)
	dsn := s.Database()
	if err := do(dsn, "CREATE TABLE kept AS SELECT 'before' AS text"); err != nil {
		t.Fatal(err)
	}
	standby := s.Standby()
	there := strings.Replace(dsn, s.Addr(), standby.Addr(), 1)
	answers(t, there, "SELECT text FROM kept", "before")
	if err := do(there, "UPDATE kept SET text = 'here'"); err == nil {
		t.Error("a standby takes writes")
	}
	standby.Stop()
	if err := do(dsn, "UPDATE kept SET text = 'after'"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	standby.Start()
	standby.Promote()
	answers(t, there, "SELECT text FROM kept", "before")
	if err := do(there, "UPDATE kept SET text = 'here'"); err != nil {
		t.Error(err)
	}
}

func TestSettingsAreTaken(t *testing.T) {
	s := Start(t, "fsync=on", "work_mem=3MB")
	answers(t, s.Database(), "SELECT current_setting('fsync') || current_setting('work_mem')", "on3MB")
}

func TestDatabasesShareNothing(t *testing.T) {
	one, two := Database(t), Database(t)
	if err := do(one, "CREATE TABLE mine AS SELECT 1 AS n"); err != nil {
		t.Fatal(err)
	}
	answers(t, two, "SELECT COUNT(*)::text FROM pg_tables WHERE schemaname = 'public'", "0")
}

func TestCopyIsPreparedOnce(t *testing.T) {
	times := 0
	prepare := func(dsn string) error {
		times++
		return do(dsn, "CREATE TABLE made AS SELECT 'before' AS text")
	}
	one, two := Copy(t, "once", prepare), Copy(t, "once", prepare)
	if err := do(one, "UPDATE made SET text = 'changed'"); err != nil {
		t.Fatal(err)
	}
	answers(t, one, "SELECT text FROM made", "changed")
	answers(t, two, "SELECT text FROM made", "before")
	if times != 1 {
		t.Errorf("prepared %d times", times)
	}
}

func TestServerEndsWithAKilledTest(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a process that its parent has died")
	}
	if _, err := binaries(); err != nil {
		giveUp(t, err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), hold+"=1")
	stdin, err := cmd.StdinPipe() // it reads from it until it is killed
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
	if err != nil || !strings.HasPrefix(filepath.Base(dir), "pgtest-") {
		t.Fatalf("the other process says %q, error %v", line, err)
	}
	defer os.RemoveAll(dir)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		_ = conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("the server has outlived its test")
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
}

// verdict is a test that only says how it was ended.
type verdict struct {
	testing.TB
	said string
}

func (v *verdict) Helper()      {}
func (v *verdict) Skip(...any)  { v.said = "skipped" }
func (v *verdict) Fatal(...any) { v.said = "failed" }

func TestMissingServerIsAFailureOnlyInCI(t *testing.T) {
	for ci, want := range map[string]string{"": "skipped", "true": "failed"} {
		t.Setenv("CI", ci)
		var v verdict
		giveUp(&v, errNotInstalled)
		if v.said != want {
			t.Errorf("with CI=%q the test is %s, want %s", ci, v.said, want)
		}
	}
}
