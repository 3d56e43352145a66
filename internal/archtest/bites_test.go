package archtest

// bites are small houses that break one rule each: the files, and every finding.
var bites = []struct {
	name  string
	rule  string
	house string
	want  []string
}{
	{"normalize imports our packages", "arrows from normalize", `
-- normalize/normalize.go --
package normalize
import (
	"strings"
	"chatmux/adapters"
)
-- normalize/normalize_test.go --
package normalize
import "chatmux/adapters"
`, []string{"normalize/normalize.go:4: normalize imports adapters"}},

	{"an adapter reaches behind the contract", "arrows from adapters", `
-- adapters/x/x.go --
package x
import (
	"chatmux/adapters"
	"chatmux/adapters/x/xtwin"
	"chatmux/internal/engine"
	"chatmux/internal/store/sqlite"
	"chatmux/internal/vendorhttp"
	"chatmux/normalize"
)
-- adapters/all/all.go --
package all
import "chatmux/adapters/x"
-- adapters/adaptertest/suite.go --
package adaptertest
import "chatmux/internal/backend"
`, []string{
		"adapters/x/x.go:5: adapters/x imports internal/engine",
		"adapters/x/x.go:6: adapters/x imports internal/store/sqlite",
	}},

	{"the HTTP client looks in front of itself", "arrows from internal/vendorhttp", `
-- internal/vendorhttp/client.go --
package vendorhttp
import (
	"chatmux/adapters"
	"chatmux/internal/backend"
)
`, []string{"internal/vendorhttp/client.go:4: internal/vendorhttp imports internal/backend"}},

	{"the config looks at an adapter", "arrows from internal/config", `
-- internal/config/config.go --
package config
import (
	"chatmux/adapters/altur"
	"chatmux/normalize"
)
`, []string{"internal/config/config.go:3: internal/config imports adapters/altur"}},

	{"a trial asks a backend", "arrows from internal/trial", `
-- internal/trial/trial.go --
package trial
import (
	"chatmux/adapters"
	"chatmux/internal/backend"
	"chatmux/internal/sandbox"
	"chatmux/normalize"
)
`, []string{"internal/trial/trial.go:4: internal/trial imports internal/backend"}},

	{"routing asks a backend", "arrows from internal/routing", `
-- internal/routing/routing.go --
package routing
import (
	"chatmux/internal/backend"
	"chatmux/normalize"
)
`, []string{"internal/routing/routing.go:3: internal/routing imports internal/backend"}},

	{"the store asks routing", "arrows from internal/store", `
-- internal/store/store.go --
package store
import (
	"chatmux/internal/routing"
	"chatmux/internal/store/migrations"
)
`, []string{"internal/store/store.go:3: internal/store imports internal/routing"}},

	{"the archive asks the engine", "arrows from internal/archive", `
-- internal/archive/archive.go --
package archive
import (
	"chatmux/adapters"
	"chatmux/internal/engine"
	"chatmux/internal/store"
)
`, []string{"internal/archive/archive.go:4: internal/archive imports internal/engine"}},

	{"the mover opens the store", "arrows from internal/migration", `
-- internal/migration/move.go --
package migration
import _ "chatmux/internal/store"
`, []string{"internal/migration/move.go:2: internal/migration imports internal/store"}},

	{"the guard asks an adapter", "arrows from internal/outbound", `
-- internal/outbound/outbound.go --
package outbound
import "chatmux/adapters"
`, []string{"internal/outbound/outbound.go:2: internal/outbound imports adapters"}},

	{"a webhook asks the engine", "arrows from internal/webhook", `
-- internal/webhook/webhook.go --
package webhook
import "chatmux/internal/engine"
`, []string{"internal/webhook/webhook.go:2: internal/webhook imports internal/engine"}},

	{"telemetry asks a backend", "arrows from internal/telemetry", `
-- internal/telemetry/telemetry.go --
package telemetry
import "chatmux/internal/backend"
`, []string{"internal/telemetry/telemetry.go:2: internal/telemetry imports internal/backend"}},

	{"a backend writes to the store", "arrows from internal/backend", `
-- internal/backend/backend.go --
package backend
import (
	"chatmux/adapters"
	"chatmux/internal/store"
)
`, []string{"internal/backend/backend.go:4: internal/backend imports internal/store"}},

	{"the engine looks at a door", "arrows from internal/engine", `
-- internal/engine/engine.go --
package engine
import (
	"chatmux/internal/backend"
	"chatmux/internal/httpapi"
)
`, []string{"internal/engine/engine.go:4: internal/engine imports internal/httpapi"}},

	{"a door goes past the engine", "arrows from internal/httpapi", `
-- internal/httpapi/api.go --
package httpapi
import (
	"chatmux/internal/engine"
	"chatmux/internal/store"
)
-- internal/httpapi/api_test.go --
package httpapi
import "chatmux/internal/store"
`, []string{"internal/httpapi/api.go:4: internal/httpapi imports internal/store"}},

	{"the sandbox uses the house", "arrows from internal/sandbox", `
-- internal/sandbox/sandbox.go --
package sandbox
import (
	"chatmux/internal/engine"
	"chatmux/internal/sandbox/bot"
)
`, []string{"internal/sandbox/sandbox.go:3: internal/sandbox imports internal/engine"}},

	{"app calls main", "arrows from internal/app", `
-- internal/app/app.go --
package app
import "chatmux/cmd/chatmux"
`, []string{"internal/app/app.go:2: internal/app imports cmd/chatmux"}},

	{"a twin uses its adapter", "twins know nobody", `
-- adapters/x/xtwin/twin.go --
package xtwin
import (
	"chatmux/adapters/x"
	"chatmux/internal/sandbox"
	"chatmux/internal/sandbox/bot"
	"chatmux/normalize"
)
type Twin struct{ Key normalize.Secret }
var at = normalize.ParseTime
-- adapters/x/xtwin/twin_test.go --
package xtwin
import "chatmux/adapters/x"
`, []string{
		"adapters/x/xtwin/twin.go:3: adapters/x/xtwin imports adapters/x; of ours it may know internal/sandbox/bot and normalize.Secret",
		"adapters/x/xtwin/twin.go:4: adapters/x/xtwin imports internal/sandbox; of ours it may know internal/sandbox/bot and normalize.Secret",
		"adapters/x/xtwin/twin.go:9: adapters/x/xtwin uses normalize.ParseTime; of ours it may know internal/sandbox/bot and normalize.Secret",
	}},

	{"an adapter borrows from another", "adapters are strangers to each other", `
-- adapters/x/x.go --
package x
import (
	"chatmux/adapters/x/xtwin"
	"chatmux/adapters/y"
	"chatmux/adapters/y/ytwin"
)
-- adapters/x/x_test.go --
package x
import "chatmux/adapters/adaptertest"
-- adapters/all/all.go --
package all
import (
	"chatmux/adapters/x"
	"chatmux/adapters/y"
)
`, []string{
		"adapters/x/x.go:4: adapters/x imports adapters/y",
		"adapters/x/x.go:5: adapters/x imports adapters/y/ytwin",
	}},

	{"app links all vendors", "only main decides what is linked", `
-- cmd/chatmux/main.go --
package main
import "chatmux/adapters/all"
-- internal/app/app.go --
package app
import "chatmux/adapters/all"
-- internal/app/app_test.go --
package app
import "chatmux/adapters/all"
`, []string{"internal/app/app.go:2: internal/app imports adapters/all"}},

	{"a talent is asserted", "talents are asked for with As", `
-- internal/backend/backend.go --
package backend
import "chatmux/adapters"
func f(a any) {
	_, _ = adapters.As[adapters.Streamer](a)
	_, _ = a.(adapters.Checker)
	_, _ = a.(adapters.Streamer)
	switch a.(type) {
	}
}
-- internal/backend/backend_test.go --
package backend
import "chatmux/adapters"
var _ = a.(adapters.Streamer)
`, []string{"internal/backend/backend.go:6: internal/backend asserts adapters.Streamer"}},

	{"an adapter is forgotten", "every adapter is on the list", `
-- adapters/all/all.go --
package all
import "chatmux/adapters/x"
-- adapters/x/x.go --
package x
-- adapters/x/xtwin/twin.go --
package xtwin
-- adapters/y/y.go --
package y
-- adapters/adaptertest/suite.go --
package adaptertest
`, []string{"adapters/y: adapters/all does not import it"}},

	{"a suite is linked in", "suites stay out of the binary", `
-- internal/store/store.go --
package store
import "chatmux/internal/store/storetest"
-- internal/store/store_test.go --
package store
import (
	"testing"
	"chatmux/internal/store/storetest"
)
-- internal/store/storetest/suite.go --
package storetest
import "testing"
-- internal/app/app.go --
package app
import (
	"net/http/httptest"
	"testing/fstest"
)
`, []string{
		"internal/app/app.go:3: internal/app imports net/http/httptest in a file that is no test",
		"internal/app/app.go:4: internal/app imports testing/fstest in a file that is no test",
		"internal/store/store.go:2: internal/store imports chatmux/internal/store/storetest in a file that is no test",
	}},

	{"libraries away from home", "one home for each library", `
-- internal/engine/engine.go --
package engine
import (
	"database/sql"
	"net/http"
	"github.com/gorilla/mux"
	"github.com/google/go-cmp/cmp"
	"example.com/unknown"
)
-- internal/engine/engine_test.go --
package engine
import (
	"github.com/gorilla/mux"
	"github.com/google/go-cmp/cmp"
	"example.com/unknown"
)
-- internal/store/storetest/suite.go --
package storetest
import "github.com/google/go-cmp/cmp"
-- internal/httpapi/api.go --
package httpapi
import "github.com/gorilla/mux"
-- internal/store/store.go --
package store
import (
	"database/sql/driver"
	_ "modernc.org/sqlite"
)
`, []string{
		"internal/engine/engine.go:3: internal/engine imports database/sql, whose home is internal/store",
		"internal/engine/engine.go:5: internal/engine imports github.com/gorilla/mux, whose home is internal/httpapi",
		"internal/engine/engine.go:6: internal/engine imports github.com/google/go-cmp/cmp, which is for tests",
		"internal/engine/engine.go:7: internal/engine imports example.com/unknown, which has no home: choose one, and enter it in the list of homes",
		"internal/engine/engine_test.go:5: internal/engine imports example.com/unknown, which has no home: choose one, and enter it in the list of homes",
	}},

	{"a room builds its own logger", "zap is built in app", `
-- internal/backend/backend.go --
package backend
import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)
var (
	a, _ = zap.NewProduction()
	b    = zapcore.NewCore(nil, nil, nil)
	c    = zap.NewNop()
	d    = zap.String("k", "v")
)
-- internal/app/app.go --
package app
import "go.uber.org/zap"
var l = zap.New(nil)
`, []string{
		"internal/backend/backend.go:7: internal/backend uses zap.NewProduction",
		"internal/backend/backend.go:8: internal/backend uses zapcore.NewCore",
	}},

	{"dependencies in exported names", "exported names mention no dependency", `
-- internal/backend/backend.go --
package backend
import (
	"net/http"
	"chatmux/normalize"
	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"
)
type Options struct {
	Log     *zap.Logger
	Breaker gobreaker.Settings
	hidden  gobreaker.Settings
}
type State struct {
	Log *zap.Logger
	gobreaker.Counts
	Nested struct{ State gobreaker.State }
}
type backend struct{ Breaker *gobreaker.CircuitBreaker[int] }
type Opener interface{ Open(gobreaker.State) error }
type Alias = gobreaker.State
func New(o Options, log *zap.Logger) *State { var s gobreaker.Settings; _ = s; return nil }
func NewBreaker(name string) *gobreaker.CircuitBreaker[int] { return nil }
func Run(log *zap.Logger) {}
func (s *State) Counts() map[string]gobreaker.Counts { return nil }
func (b *backend) Counts() gobreaker.Counts { return gobreaker.Counts{} }
func hidden(gobreaker.State) {}
func Fine(h http.Header, e normalize.Error) {}
var Default = gobreaker.Settings{}
var Handler = func() error { var s gobreaker.Settings; _ = s; return nil }
const Closed = 0
-- internal/backend/backend_test.go --
package backend
import "github.com/sony/gobreaker/v2"
func Helper(gobreaker.State) {}
-- cmd/chatmux/main.go --
package main
import "github.com/spf13/cobra"
func Root() *cobra.Command { return nil }
`, []string{
		"internal/backend/backend.go:10: Options.Breaker mentions gobreaker.Settings of github.com/sony/gobreaker/v2",
		"internal/backend/backend.go:14: State.Log mentions zap.Logger of go.uber.org/zap",
		"internal/backend/backend.go:15: State mentions gobreaker.Counts of github.com/sony/gobreaker/v2",
		"internal/backend/backend.go:16: State.Nested.State mentions gobreaker.State of github.com/sony/gobreaker/v2",
		"internal/backend/backend.go:19: Opener mentions gobreaker.State of github.com/sony/gobreaker/v2",
		"internal/backend/backend.go:20: Alias mentions gobreaker.State of github.com/sony/gobreaker/v2",
		"internal/backend/backend.go:22: NewBreaker mentions gobreaker.CircuitBreaker of github.com/sony/gobreaker/v2",
		"internal/backend/backend.go:23: Run mentions zap.Logger of go.uber.org/zap",
		"internal/backend/backend.go:24: Counts mentions gobreaker.Counts of github.com/sony/gobreaker/v2",
		"internal/backend/backend.go:28: Default mentions gobreaker.Settings of github.com/sony/gobreaker/v2",
	}},

	{"names that say nothing", "names say something", `
-- internal/util/strings.go --
package util
-- internal/engine/helpers_test.go --
package engine
-- internal/engine/engine.go --
package engine
type BreakerManager struct{}
type sendService int
type Database struct{}
type Model string
`, []string{
		"internal/engine/engine.go:2: a type called BreakerManager",
		"internal/engine/engine.go:3: a type called sendService",
		"internal/engine/helpers_test.go: a file called helpers",
		"internal/util: a folder called util",
		"internal/util/strings.go:1: a package called util",
	}},

	{"package comments", "one package comment a folder", `
-- none/none.go --
package none
-- none/none_test.go --
// Package none is commented in a test.
package none
-- two/a.go --
// Package two is here.
package two
-- two/b.go --
// Package two is there.
package two
-- wrong/wrong.go --
// This package is called something else.
package wrong
-- good/good.go --
// Package good is good.
package good
-- good/other.go --
package good
-- onlytests/only_test.go --
// Package onlytests has tests only.
package onlytests
-- cmd/chatmux/main.go --
// Chatmux serves.
package main
`, []string{
		"none: no file has a package comment",
		"two: package comments in a.go and b.go",
		"wrong/wrong.go:1: a package comment that does not begin with Package wrong",
	}},

	{"a clock in a pure room", "pure rooms are pure", `
-- internal/routing/routing.go --
package routing
import (
	"os"
	"time"
)
var start = time.Now()
var layout = time.RFC3339
-- normalize/error.go --
package normalize
import (
	"net/http"
	"golang.org/x/sync/errgroup"
)
var a = http.StatusOK
var b = http.DefaultClient
-- normalize/error_test.go --
package normalize
import "os"
-- internal/engine/engine.go --
package engine
import "time"
var start = time.Now()
`, []string{
		"internal/routing/routing.go:3: internal/routing imports os",
		"internal/routing/routing.go:6: internal/routing uses time.Now",
		"normalize/error.go:4: normalize imports golang.org/x/sync/errgroup",
		"normalize/error.go:7: normalize uses http.DefaultClient",
	}},

	{"a vendor's name in the core", "the core names no vendor", `
-- adapters/altur/altur.go --
package altur
const name = "altur"
-- adapters/conversations/conversations.go --
package conversations
-- internal/engine/engine.go --
package engine
// Altur in a comment is no harm.
var a = name == "altur"
var b = "the backend is Altur's"
var c = "conversations"
var d = "all conversations of this thread"
var e = "alturistic"
-- internal/httpapi/docs.go --
package httpapi
const example = "altur"
`, []string{
		`internal/engine/engine.go:3: internal/engine says "altur"`,
		`internal/engine/engine.go:4: internal/engine says "the backend is Altur's"`,
		`internal/engine/engine.go:5: internal/engine says "conversations"`,
	}},

	{"globals", "nothing is global", `
-- cmd/chatmux/main.go --
package main
import "net/http"
var a = http.DefaultClient
-- internal/app/app.go --
package app
import (
	"log"
	"net/http"
	"go.uber.org/zap"
	"github.com/prometheus/client_golang/prometheus/promauto"
)
var a = http.DefaultClient
var b = http.StatusOK
var c = zap.L()
var d = promauto.NewCounter
func run() { log.Print("x") }
`, []string{
		"internal/app/app.go:8: internal/app uses http.DefaultClient",
		"internal/app/app.go:10: internal/app uses zap.L",
		"internal/app/app.go:11: internal/app uses promauto.NewCounter",
		"internal/app/app.go:12: internal/app uses log.Print",
	}},
}
