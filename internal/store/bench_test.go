package store

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"chatmux/internal/pgtest"
	"chatmux/normalize"
)

// benchStores are where a benchmark runs: on the disk, without one, which shows the
// CPU time alone, and on a PostgreSQL server that syncs as it would in earnest.
func benchStores(b *testing.B, run func(b *testing.B, s *Store)) {
	for _, c := range []struct {
		name string
		dsn  func(b *testing.B) string
	}{
		{"file", func(b *testing.B) string { return "sqlite:" + filepath.Join(b.TempDir(), "bench.db") }},
		{"memory", func(*testing.B) string { return "sqlite::memory:" }},
		{"postgres", func(b *testing.B) string {
			return pgtest.Start(b, "fsync=on", "full_page_writes=on", "shared_buffers=128MB").Database()
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s, err := Open(b.Context(), c.dsn(b), testOptions())
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			run(b, s)
		})
	}
}

// turn is what a send costs the store: the thread is read, the message accepted with
// its first attempt (and a key where the client sends one), and finished with a reply.
func turn(ctx context.Context, s *Store, thread *normalize.Thread, key *Key) error {
	st, err := s.Thread(ctx, thread.Tenant, thread.ID, false)
	if err != nil {
		return err
	}
	m := userMessage(thread.ID, "Hello, where is my parcel? It was sent a week ago, and nobody has seen it since.")
	epoch := newID("run")
	attempt := newAttempt(m, epoch)
	r, err := s.Accept(ctx, Acceptance{
		Thread: st.Thread, Version: st.Version, Message: m, Attempt: attempt, Key: key, Epoch: epoch, Lease: time.Minute, Now: t0,
	})
	if err != nil {
		return err
	}
	m.Status, m.Backend, m.RemoteID = normalize.StatusSent, "desk", "remote-1"
	reply := replyTo(m, "It left the depot this morning and will be with you before noon. Is there anything else that I can do for you?")
	reply.Model = "gpt-x"
	_, err = s.Finish(ctx, Finish{
		Thread: st.Thread, Version: r.Version, Message: m, Replies: []normalize.Message{reply}, Key: key, Status: 200, Body: make([]byte, 1500),
		Attempt: &AttemptEnd{ID: attempt.ID, EndedAt: t0}, Epoch: epoch, Now: t0.Add(time.Duration(lastID.Add(1)) * time.Millisecond),
	})
	return err
}

func benchThread(ctx context.Context, s *Store) (normalize.Thread, error) {
	thread := newThread("acme")
	thread.Backend, thread.Route = "desk", "default"
	thread.User = normalize.User{ID: newID("user"), Name: "Zoë", Email: "zoe@example.org"}
	thread.Metadata = map[string]string{"plan": "gold"}
	thread.Bindings = []normalize.Binding{{Backend: "desk", Vendor: "altur", Remote: normalize.Remote{ThreadID: newID("remote")}, Since: t0}}
	return thread, s.CreateThread(ctx, thread)
}

func BenchmarkAcceptFinish(b *testing.B) {
	benchStores(b, func(b *testing.B, s *Store) {
		for _, keyed := range []bool{false, true} {
			key := func() *Key {
				if keyed {
					return newKey("acme", "b")
				}
				return nil
			}
			b.Run(fmt.Sprintf("serial,key=%v", keyed), func(b *testing.B) {
				b.ReportAllocs()
				threads := make([]normalize.Thread, 200)
				for i := range threads {
					var err error
					if threads[i], err = benchThread(b.Context(), s); err != nil {
						b.Fatal(err)
					}
				}
				for i := 0; b.Loop(); i++ {
					if err := turn(b.Context(), s, &threads[i%len(threads)], key()); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("parallel,key=%v", keyed), func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(32)
				b.RunParallel(func(pb *testing.PB) {
					thread, err := benchThread(b.Context(), s)
					if err != nil {
						b.Error(err)
						return
					}
					for pb.Next() {
						if err := turn(b.Context(), s, &thread, key()); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	})
}

func BenchmarkRead(b *testing.B) {
	benchStores(b, func(b *testing.B, s *Store) {
		thread, err := benchThread(b.Context(), s)
		if err != nil {
			b.Fatal(err)
		}
		for range 50 {
			if err := turn(b.Context(), s, &thread, nil); err != nil {
				b.Fatal(err)
			}
		}
		b.Run("thread", func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Thread(b.Context(), "acme", thread.ID, false); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("page", func(b *testing.B) {
			for b.Loop() {
				if _, _, err := s.Messages(b.Context(), "acme", thread.ID, Range{Limit: 50, Ascending: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}
