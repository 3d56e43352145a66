package adapters_test

import (
	"context"
	"testing"

	"chatmux/adapters"
	"chatmux/normalize"
)

type speaker struct{}

func (speaker) Send(context.Context, adapters.Turn) (adapters.Reply, error) {
	return adapters.Reply{}, nil
}

func (speaker) DeleteThread(context.Context, normalize.Remote) error { return nil }

type composed struct {
	speaker
	talents []any
}

func (c composed) Talents() []any { return c.talents }

type limits int

func (l limits) HistoryLimits() adapters.HistoryLimits {
	return adapters.HistoryLimits{Messages: int(l)}
}

func TestATalentIsFoundInTheTypeAndAmongTheParts(t *testing.T) {
	plain, made := speaker{}, composed{talents: []any{"no talent", limits(7), limits(8)}}
	if !adapters.Has[adapters.ThreadDeleter](plain) || !adapters.Has[adapters.ThreadDeleter](made) {
		t.Error("a talent of the type itself was not found")
	}
	if adapters.Has[adapters.History](plain) || adapters.Has[adapters.Streamer](made) {
		t.Error("a talent was found that nobody has")
	}
	if h, ok := adapters.As[adapters.History](made); !ok || h.HistoryLimits().Messages != 7 {
		t.Errorf("the talent among the parts is %v, found: %t; want the first of them", h, ok)
	}
}
