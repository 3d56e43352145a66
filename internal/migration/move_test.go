package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// shelf is some threads in memory, listed three to a page.
type shelf struct {
	mu    sync.Mutex
	left  []Thread
	busy  map[string]int // how often a thread refuses
	gone  map[string]bool
	moves map[string]int
	fail  error
}

func newShelf(n int) *shelf {
	s := &shelf{busy: make(map[string]int), gone: make(map[string]bool), moves: make(map[string]int)}
	for i := range n {
		s.left = append(s.left, Thread{ID: fmt.Sprintf("t%02d", i), CreatedAt: time.Unix(int64(i), 0)})
	}
	return s
}

func (s *shelf) Page(_ context.Context, cursor string) (page []Thread, next string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.left {
		if t.ID <= cursor {
			continue
		}
		if len(page) == 3 {
			return page, page[2].ID, nil
		}
		page = append(page, t)
	}
	return page, "", nil
}

func (s *shelf) Move(_ context.Context, t Thread) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone[t.ID]:
		return "", ErrGone
	case s.busy[t.ID] != 0:
		s.busy[t.ID]--
		return "", &Later{After: time.Second, Cause: errors.New("busy")}
	case s.fail != nil && t.ID == "t04":
		return "", s.fail
	}
	s.moves[t.ID]++
	s.left = slices.DeleteFunc(s.left, func(other Thread) bool { return other.ID == t.ID })
	return "primer", nil
}

func TestEachThreadIsMovedOnceAlsoWhereSomeAreBusyAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(20)
		s.busy["t03"], s.busy["t19"], s.gone["t07"] = 2, 5, true
		if n, err := Count(t.Context(), s); n != 20 || err != nil {
			t.Fatalf("counted %d, %v", n, err)
		}
		moved, gone := 0, 0
		err := Move(t.Context(), s, Order{Workers: 4, Patience: time.Minute}, func(m Moved) {
			switch {
			case m.Err == nil && m.Level == "primer":
				moved++
			case errors.Is(m.Err, ErrGone):
				gone++
			default:
				t.Errorf("%s: %v", m.Thread.ID, m.Err)
			}
		})
		if err != nil || moved != 19 || gone != 1 {
			t.Errorf("moved %d, gone %d, %v", moved, gone, err)
		}
		for id, n := range s.moves {
			if n != 1 {
				t.Errorf("%s was moved %d times", id, n)
			}
		}
	})
}

func TestAThreadThatStaysBusyIsToldInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(4)
		s.busy["t02"] = -1
		began := time.Now()
		var left []string
		err := Move(t.Context(), s, Order{Workers: 1, Patience: time.Minute}, func(m Moved) {
			var later *Later
			if errors.As(m.Err, &later) {
				left = append(left, m.Thread.ID)
			}
		})
		if err != nil || !slices.Equal(left, []string{"t02"}) || len(s.moves) != 3 {
			t.Errorf("left %v, moved %v, %v", left, s.moves, err)
		}
		if waited := time.Since(began); waited < time.Minute || waited > 2*time.Minute {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestWhatIsMadeMeanwhileStays(t *testing.T) {
	s := newShelf(2)
	s.left = append(s.left, Thread{ID: "t99", CreatedAt: time.Now().Add(time.Hour)})
	if err := Move(t.Context(), s, Order{Workers: 1}, func(Moved) {}); err != nil || s.moves["t99"] != 0 || len(s.moves) != 2 {
		t.Errorf("moved %v, %v", s.moves, err)
	}
}

func TestAFailureEndsTheOrderAndTheNextOneGoesOn(t *testing.T) {
	s := newShelf(9)
	s.fail = errors.New("the disk is full")
	told := 0
	if err := Move(t.Context(), s, Order{Workers: 1}, func(Moved) { told++ }); !errors.Is(err, s.fail) {
		t.Errorf("got %v", err)
	}
	if told != len(s.moves) || told < 4 || told == 9 {
		t.Errorf("told of %d, moved %v", told, s.moves)
	}
	s.fail = nil
	if err := Move(t.Context(), s, Order{Workers: 1}, func(Moved) { told++ }); err != nil || told != 9 || len(s.left) != 0 {
		t.Errorf("told of %d, left %v, %v", told, s.left, err)
	}
}
