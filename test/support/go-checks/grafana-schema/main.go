// Reads a dashboard from standard input with the types that Grafana publishes, which are generated from its schema. An unknown field, a missing
// field, a value of the wrong type and a value outside its bounds are errors. The options of panels and the queries are read as strictly.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func check() error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var read dashboard.Dashboard
	if err := reason(read.UnmarshalJSONStrict(text)); err != nil {
		return err
	}
	return reason(read.Validate())
}

// The library also returns an empty list of errors, which is none.
func reason(err error) error {
	var list cog.BuildErrors
	if errors.As(err, &list) && len(list) == 0 {
		return nil
	}
	return err
}

func main() {
	runtime := cog.NewRuntime()
	runtime.RegisterPanelcfgVariant(timeseries.VariantConfig())
	runtime.RegisterPanelcfgVariant(stat.VariantConfig())
	runtime.RegisterPanelcfgVariant(statetimeline.VariantConfig())
	runtime.RegisterDataqueryVariant(prometheus.VariantConfig())
	if err := check(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
