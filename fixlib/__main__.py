from fixlib.cli import main

raise SystemExit(main())
