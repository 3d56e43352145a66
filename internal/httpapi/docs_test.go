package httpapi

import (
	"context"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

func TestTheDocsPageIsWholeWithoutItsScript(t *testing.T) {
	h := newHarness(t, Options{})
	a := h.get("/docs").want(t, 200, "")
	page := string(a.body)
	for _, r := range h.api.Routes() {
		if !strings.Contains(page, `<b class="`+r.Method+`">`+r.Method+`</b> <code>`+r.Path+`</code>`) {
			t.Errorf("%s %s is not on the page", r.Method, r.Path)
		}
	}
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	for name, schema := range doc.Components.Schemas {
		if !strings.Contains(page, `<article id="`+name+`">`) {
			t.Errorf("the object %s is not on the page", name)
		}
		for field := range schema.Value.Properties {
			if !strings.Contains(page, "<code>"+field+"</code>") {
				t.Errorf("the field %s of %s is not on the page", field, name)
			}
		}
	}
	for _, word := range []string{
		"curl http://", "<code>breaker.state</code>", "<code>tags[].name</code>", "Idempotency-Key", "<code>breaker_open</code>", "up to 65536 characters",
	} {
		if !strings.Contains(page, word) {
			t.Errorf("%q is not on the page", word)
		}
	}
	if strings.Contains(page, "<script>") || strings.Contains(page, " style=") || strings.Contains(page, " onclick=") {
		t.Error("the page has script or style within it, which its own policy forbids")
	}
	policy := a.header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %q", policy)
	}
	h.get("/docs/page.js").want(t, 200, "")
	h.get("/docs/page.css").want(t, 200, "")
	for _, file := range []string{"page.html", "docs.go", "..", "%2e%2e%2fopenapi.json", "page.css%00", "PAGE.CSS"} {
		h.get("/docs/"+file).want(t, 404, "not_found")
	}
}

// browser starts a headless Chromium, which says what it asks for and what it
// complains about.
func browser(t *testing.T) (ctx context.Context, asked, complaints func() []string) {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		const how = "no Chromium in PATH; on Debian: apt-get install chromium"
		if os.Getenv("CI") == "true" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.CombinedOutput(io.Discard))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	var mu sync.Mutex
	var urls, problems []string
	// The first call has no deadline of its own: it starts the browser.
	if err := chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			urls = append(urls, e.Request.URL)
		case *runtime.EventExceptionThrown:
			problems = append(problems, e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			problems = append(problems, e.Entry.Text)
		}
	}); err != nil {
		t.Fatal(err)
	}
	copied := func(list *[]string) func() []string {
		return func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(*list)
		}
	}
	return ctx, copied(&urls), copied(&problems)
}

// step is a bound for one thing done in a browser, which would wait for ever.
func step(ctx context.Context, t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// evaluate gives what an expression is on the page.
func evaluate[T any](ctx context.Context, t *testing.T, expression string) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTheDocsPageWorksInABrowserAndAsksNobodyElse(t *testing.T) {
	h := newHarness(t, Options{})
	ctx, asked, complaints := browser(t)
	origin := "http://" + h.addr
	step(ctx, t, chromedp.Navigate(origin+"/docs"), chromedp.WaitVisible("#filter"))

	example := evaluate[string](ctx, t, `document.querySelector("#sendFirstMessage pre").textContent`)
	if !strings.HasPrefix(example, "curl "+origin+"/v1/messages") {
		t.Errorf("the example does not name this server: %q", example)
	}
	shown := `[...document.querySelectorAll("nav li")].filter(i => i.offsetParent)` +
		`.map(i => i.querySelector("small")?.textContent ?? i.textContent.trim())`
	if all := evaluate[[]string](ctx, t, shown); len(all) < len(h.api.Routes()) {
		t.Errorf("only %d entries are shown", len(all))
	}
	step(ctx, t, chromedp.SendKeys("#filter", "explain"))
	if got := evaluate[[]string](ctx, t, shown); !slices.Equal(got, []string{"/v1/routes/explain"}) {
		t.Errorf("the filter leaves %q", got)
	}
	step(ctx, t, chromedp.Click("nav li:not([hidden]) a"))
	if got := evaluate[string](ctx, t, `location.hash`); got != "#explainRoute" {
		t.Errorf("a click leads to %q", got)
	}
	if wide := evaluate[bool](ctx, t, `document.documentElement.scrollWidth > innerWidth`); wide {
		t.Error("the page is wider than the window")
	}
	urls := asked()
	if len(urls) < 3 {
		t.Errorf("only %q was asked for", urls)
	}
	for _, u := range urls {
		if !strings.HasPrefix(u, origin+"/docs") && !strings.HasPrefix(u, "data:") {
			t.Errorf("the page asked for %s", u)
		}
	}
	if list := complaints(); len(list) > 0 {
		t.Errorf("the browser complains: %q", list)
	}
}
