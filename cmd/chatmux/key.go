package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// keyPrefix makes a key of ours easy to find for people and for secret scanners.
const keyPrefix = "cmx_"

// configName is what the config takes as a name.
var configName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)

// makeKey makes a caller key: the prefix, 32 random bytes and a checksum of them,
// so that a scanner can tell a real key from a word that looks like one.
func makeKey() string {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails: the runtime ends the process instead
	sum := crc32.ChecksumIEEE(random)
	random = append(random, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
	return keyPrefix + base64.RawURLEncoding.EncodeToString(random)
}

func newKey() *cobra.Command {
	key := &cobra.Command{Use: "key", Short: "Make keys for callers", Args: noArgs, RunE: showHelp}
	var name string
	made := &cobra.Command{
		Use: "new", Short: "Print a new caller key, once, and the lines for the config", Args: noArgs,
		Long: `Makes a key for a caller and prints it once, with its SHA-256 for the config.
chatmux keeps neither: give the key to the caller, put the hash into the file.`,
		Example: "  chatmux key new --name web",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !configName.MatchString(name) {
				return &usageError{errors.New("--name: a name has 1 to 64 letters, digits, dots, dashes and underscores, and begins with none of . and -")}
			}
			k := makeKey()
			sum := sha256.Sum256([]byte(k))
			fmt.Fprintf(cmd.OutOrStdout(), "%s\n\ncallers:\n  - name: %s\n    key_sha256: %s\n", k, name, hex.EncodeToString(sum[:]))
			return nil
		},
	}
	made.Flags().StringVar(&name, "name", "web", "the caller's name")
	key.AddCommand(made)
	return key
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintf(cmd.OutOrStdout(), "chatmux %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}

// version is the module's version, or the commit that the binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel " + s.Value[:12]
		}
	}
	return "devel"
}
